"""The split of an epoch: exact where the host was timed, by the profile's shares otherwise, and always the whole."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochwise.explaining.attribution import attribution
from epochwise.measuring.measurement import TURN, HostTime, IdleTime
from tests.explaining.samples import STEPS, counts, machine, measured


@given(
    st.floats(0.01, 100),
    st.none() | st.floats(0.01, 1.0),
    st.floats(0, 0.5),
    st.lists(
        st.tuples(st.sampled_from(["input pipeline", "validation", "callback A"]), st.booleans(), st.floats(0, 1)), max_size=5
    ),
)
def test_the_parts_are_the_whole(epoch: float, busy: float | None, turn: float, host: list[tuple[str, bool, float]]) -> None:
    """Whatever was timed, even where medians of parts add up to more than the whole, the parts add up to the epoch."""
    times = tuple(HostTime(place, in_turn, share * epoch) for place, in_turn, share in host)
    split = attribution(measured(epoch=epoch, busy_share=busy, turn=turn * epoch, host=times))
    known = [*split.waits.values(), split.rest]
    assert all(value >= 0 for value in known)
    assert math.isclose(math.fsum(known), epoch * (1 - turn), rel_tol=1e-9)
    assert math.fsum(split.turn.values()) <= turn * epoch * (1 + 1e-9) + 1e-300  # the smallest floats are a step apart


@given(
    st.floats(0.01, 100),
    st.none() | st.floats(0.01, 1.0),
    st.lists(st.tuples(st.sampled_from(["input pipeline", TURN, "callback A"]), st.booleans(), st.floats(0, 1)), max_size=5),
)
def test_the_parts_are_the_whole_where_epochs_are_measured_whole(
    epoch: float, busy: float | None, host: list[tuple[str, bool, float]]
) -> None:
    """Also where the medians of what happens between two epochs add up to more than the median epoch."""
    times = tuple(HostTime(place, in_turn, share * epoch) for place, in_turn, share in host)
    model = msgspec.structs.replace(measured(epoch=epoch, busy_share=busy, turn=0.0, host=times), whole_epochs=True)
    split = attribution(model)
    known = [*split.waits.values(), *split.turn.values(), split.rest]
    assert all(value >= 0 for value in known)
    assert math.isclose(math.fsum(known), epoch, rel_tol=1e-9)


def test_a_wait_is_exact_although_the_profiler_slows_the_rest() -> None:
    """A wait of 4 ms in a step of 10 ms stays 4 ms where the profiler makes the step 16 ms: the rest alone is scaled."""
    wait = HostTime("input pipeline", False, 0.004 * STEPS)
    idle = (IdleTime("input pipeline", None, None, 0.004), IdleTime("dispatch and Python", None, None, 0.006))
    model = measured(
        epoch=0.01 * STEPS, busy_share=0.375, overhead=0.6, host=(wait,), idle=idle, stays={"input pipeline": 0.004}
    )
    split = attribution(model)
    assert split.waits == pytest.approx({"input pipeline": 0.4})
    assert split.busy is not None
    assert split.busy.median == pytest.approx(0.3)  # 6 ms of the profiled 12 ms beside the wait, of the 6 ms that are left
    assert split.dispatch == pytest.approx(0.3)


def test_a_wait_that_kernels_hide_is_no_wait() -> None:
    """Where kernels run for three quarters of the time in which the loop fetches a batch, a quarter of it is waiting."""
    wait = HostTime("input pipeline", False, 0.4)
    idle = (IdleTime("input pipeline", None, None, 0.001),)
    split = attribution(
        measured(epoch=1.0, busy_share=0.9, overhead=0.0, host=(wait,), idle=idle, stays={"input pipeline": 0.004})
    )
    assert split.waits["input pipeline"] == pytest.approx(0.1)


def test_a_wait_that_only_the_profiler_sees() -> None:
    """Inside a graph no clock of ours runs: the profiled share of the step counts."""
    idle = (IdleTime("input pipeline", None, None, 0.0022),)
    split = attribution(measured(epoch=1.0, busy_share=0.5, overhead=0.1, idle=idle))
    assert split.waits["input pipeline"] == pytest.approx(0.2)
    assert split.busy is not None
    assert split.busy.median == pytest.approx(0.5)


def test_without_a_profile_what_was_timed_is_still_known() -> None:
    """Input, callbacks and the turn need no profiler; the rest is not told apart."""
    host = (
        HostTime("callback Slow", False, 0.3),
        HostTime("validation", True, 0.1),
        HostTime("turn between epochs", True, 0.1),
    )
    split = attribution(measured(epoch=1.0, busy_share=None, turn=0.2, host=host))
    assert split.busy is None
    assert split.waits == pytest.approx({"callback Slow": 0.3})
    assert split.turn == pytest.approx({"validation": 0.1, "turn between epochs": 0.1})
    assert split.rest == pytest.approx(0.5)


def test_spread_of_a_part() -> None:
    """A part says the least and the most that the rounds of profiling found for it, in seconds of the epoch."""
    import msgspec

    from epochwise.explaining.places import where
    from epochwise.measuring.measurement import PlaceSpread

    model = measured(epoch=1.0, busy_share=0.5, overhead=0.0)
    assert model.profile is not None
    profile = msgspec.structs.replace(model.profile, spread=(PlaceSpread("dense", "forward", 0.004, 0.006),))
    part = next(
        part for part in where(msgspec.structs.replace(model, profile=profile), counts(), machine()) if part.name == "dense"
    )
    assert (part.low, part.seconds, part.high) == pytest.approx((0.4, 0.5, 0.6))
