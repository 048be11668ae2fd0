"""Where blocks lie in an epoch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from epochwise.measuring.measure import _block_steps
from epochwise.measuring.track import Track, block_that_fits


def track_of(steps_per_epoch: int, step_seconds: float) -> Track:
    track = Track.__new__(Track)
    track.steps_per_epoch, track.step_seconds = steps_per_epoch, step_seconds
    return track


@given(st.integers(4, 100_000), st.integers(1, 8))
def test_blocks_never_reach_into_a_turn(steps_per_epoch: int, blocks: int) -> None:
    """With their lead-ins they lie between the first step of an epoch and the last, which belong to turns."""
    if (steps_per_epoch - 2) // blocks < 2:
        return
    track = track_of(steps_per_epoch, 1.0)
    track.block_steps = block_that_fits(steps_per_epoch, blocks)
    assert track.block_steps >= 1
    assert blocks * (track.lead_in + track.block_steps) <= steps_per_epoch - 2


@given(st.integers(1, 100_000), st.floats(1e-5, 10.0), st.floats(0.05, 1.0), st.floats(1.0, 30.0))
def test_a_block_is_whole_epochs_or_fits_one(
    steps_per_epoch: int, step_seconds: float, shortest: float, times_longer: float
) -> None:
    """Whatever the time allowed."""
    track = track_of(steps_per_epoch, step_seconds)
    track.block_steps = _block_steps(track, shortest, shortest * times_longer)
    if track.whole_epochs:
        assert track.block_steps % steps_per_epoch == 0
    elif steps_per_epoch > 3:
        assert track.lead_in + track.block_steps <= steps_per_epoch - 2
