"""Busy time is the union over threads, and shares add up to it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochwise.measuring.intervals import KernelEvent, kernel_times, share_out

spans = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 60)).map(lambda pair: KernelEvent(pair[0], pair[0] + pair[1], "k")),
    max_size=30,
)


def union_by_ticks(events: list[KernelEvent]) -> int:
    """The length of the union, counted tick by tick."""
    return len({tick for event in events for tick in range(int(event.start), int(event.end))})


@given(spans)
def test_shares_add_up_to_the_union(events: list[KernelEvent]) -> None:
    """However events overlap, their shares sum to the length of the union of their intervals."""
    assert math.isclose(sum(share_out(events).values()), union_by_ticks(events), rel_tol=1e-9, abs_tol=1e-9)


@given(spans)
def test_no_share_is_longer_than_its_event(events: list[KernelEvent]) -> None:
    """A kernel is never given more than the time it ran."""
    shares = share_out(events)
    assert all(shares.get(place, 0.0) <= event.end - event.start + 1e-9 for place, event in enumerate(events))


def test_two_at_once_share_the_moment() -> None:
    """Two kernels that overlap for half of their time are each given half of the overlap."""
    shares = share_out([KernelEvent(0, 10, "a"), KernelEvent(5, 15, "b")])
    assert shares == {0: 7.5, 1: 7.5}


def test_kernel_times_are_per_step_and_gathered_by_place() -> None:
    """Runs of the same kernel for the same layer are one row; a kernel in pieces is one call."""
    events = [
        KernelEvent(0, 2e9, "conv", "conv2d", "forward"),
        KernelEvent(3e9, 4e9, "conv", "conv2d", "forward"),
        KernelEvent(5e9, 6e9, "conv", "conv2d", "forward", calls=0),
        KernelEvent(6e9, 7e9, "conv", "conv2d_1", "forward"),
    ]
    first, second = kernel_times(events, steps=2)
    assert (first.layer, first.seconds_per_step, first.calls_per_step) == ("conv2d", 2.0, 1.0)
    assert second.layer == "conv2d_1"
    assert second.seconds_per_step == pytest.approx(0.5)
