"""A typical step: busy time is the union over threads, shares add up to it, and one disturbed step does not count."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochwise.measuring.intervals import HostSpan, KernelEvent, typical_step

NANOSECOND = 1e-9

kernels = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 60), st.sampled_from("abc")).map(
        lambda three: KernelEvent(three[0], three[0] + three[1], three[2])
    ),
    max_size=20,
)
stays = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)).map(lambda two: HostSpan(two[0], two[0] + two[1], "input")))


def ticks(spans: list[KernelEvent] | list[HostSpan]) -> set[int]:
    """The moments in which at least one of them is under way, tick by tick."""
    return {tick for span in spans for tick in range(int(span.start), int(span.end))}


@given(kernels, stays)
def test_shares_add_up_to_the_union(events: list[KernelEvent], spans: list[HostSpan]) -> None:
    """However events overlap, kernels add up to their union, and idle stays to what is left of theirs."""
    marked = [event._replace(name=f"{event.name}{place}") for place, event in enumerate(events)]
    twice = [*marked, *marked]  # no kernel runs once a step, so the recording is taken as a whole
    step = typical_step(twice, spans, 1)
    busy, waiting = ticks(events), ticks(spans)
    assert math.isclose(sum(kernel.seconds_per_step for kernel in step.kernels), len(busy) * NANOSECOND, abs_tol=1e-12)
    idle = sum(idle.seconds_per_step for idle in step.idle if idle.place == "input")
    assert math.isclose(idle, len(waiting - busy) * NANOSECOND, abs_tol=1e-12)
    assert math.isclose(step.stays.get("input", 0.0), len(waiting) * NANOSECOND, abs_tol=1e-12)


def test_two_at_once_share_the_moment() -> None:
    """Two kernels that overlap for half of their time are each given half of the overlap."""
    step = typical_step([KernelEvent(0, 10, "a"), KernelEvent(5, 15, "b")], [], 1)
    assert {kernel.name: kernel.seconds_per_step for kernel in step.kernels} == pytest.approx(
        {"a": 7.5 * NANOSECOND, "b": 7.5 * NANOSECOND}
    )


def steps(lengths: list[int]) -> list[KernelEvent]:
    """Steps of so many nanoseconds, each a convolution of 40 and, in pieces, a dense layer of the rest but 10."""
    events, start = [], 0
    for length in lengths:
        events.append(KernelEvent(start, start + 40, "conv", "conv2d", "forward"))
        events.append(KernelEvent(start + 45, start + 50, "dot", "dense", "forward"))
        events.append(KernelEvent(start + 50, start + length - 5, "dot", "dense", "forward", calls=0))
        start += length
    return events


def test_one_disturbed_step_does_not_bend_the_shares() -> None:
    """One step of nine took a hundred times as long; wall and kernels are those of the others, and add up."""
    step = typical_step(steps([100, 100, 100, 100, 10_000, 100, 100, 100, 100]), [], 9)
    assert step.wall == pytest.approx(100 * NANOSECOND)
    found = {kernel.layer: kernel.seconds_per_step for kernel in step.kernels}
    assert found == pytest.approx({"conv2d": 40 * NANOSECOND, "dense": 50 * NANOSECOND})
    assert sum(idle.seconds_per_step for idle in step.idle) == pytest.approx(10 * NANOSECOND)
    assert {kernel.layer: kernel.calls_per_step for kernel in step.kernels} == {"conv2d": 1.0, "dense": 1.0}


def test_what_happens_in_few_steps_is_not_lost() -> None:
    """A kernel at every fourth step counts with its mean, though its median is nothing."""
    events = steps([100] * 9) + [KernelEvent(at, at + 4, "report") for at in (140, 540)]
    step = typical_step(events, [], 9)
    report = next(kernel for kernel in step.kernels if kernel.name == "report")
    assert report.seconds_per_step == pytest.approx(2 * 4 / 8 * NANOSECOND)


def test_idle_time_goes_to_where_the_host_is() -> None:
    """The innermost stay counts; kernels that run meanwhile are kernels, not waiting."""
    spans = [HostSpan(0, 100, "dispatch", "block", "forward"), HostSpan(10, 60, "dispatch", "block/dense", "forward")]
    step = typical_step([KernelEvent(20, 30, "dot"), KernelEvent(20, 30, "dot")], spans, 1)
    assert {idle.layer: idle.seconds_per_step for idle in step.idle} == pytest.approx(
        {"block": 50 * NANOSECOND, "block/dense": 40 * NANOSECOND}
    )


def test_steps_that_cannot_be_told_apart_are_taken_together() -> None:
    """Without a kernel that runs once in each step the length of a step is not known, and means count."""
    step = typical_step([KernelEvent(0, 10, "a"), KernelEvent(20, 40, "a"), KernelEvent(50, 60, "a")], [], 2)
    assert step.wall is None
    assert step.kernels[0].seconds_per_step == pytest.approx(20 * NANOSECOND)
