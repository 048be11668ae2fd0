"""Busy time from kernel events: the union over threads, shared out so that the shares add up to it.

Nothing here knows a framework: a profile reader turns its framework's events into :class:`KernelEvent`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from epochwise.measuring.measurement import KernelTime


class KernelEvent(NamedTuple):
    """One run of a kernel: when (nanoseconds on any common clock), what, and for which layer and phase, if known.

    A kernel that is interrupted by others that it calls is given in pieces, of which only the first has ``calls`` 1.
    """

    start: float
    end: float
    name: str
    layer: str | None = None
    phase: str | None = None
    calls: int = 1


def share_out(events: Iterable[KernelEvent]) -> dict[int, float]:
    """Busy nanoseconds of each event, by its place in the sequence.

    At each moment at which k events are under way, each is given 1/k of the moment. The sum over all events is therefore the
    length of the union of their intervals, in exact arithmetic.
    """
    edges: list[tuple[float, int, int]] = []
    for place, event in enumerate(events):
        if event.end > event.start:
            edges.append((event.start, 1, place))
            edges.append((event.end, 0, place))
    edges.sort()
    shares: dict[int, float] = defaultdict(float)
    active: set[int] = set()
    before = 0.0
    for moment, opens, place in edges:
        if active and moment > before:
            share = (moment - before) / len(active)
            for other in active:
                shares[other] += share
        before = moment
        if opens:
            active.add(place)
        else:
            active.discard(place)
    return shares


def kernel_times(events: Sequence[KernelEvent], steps: int) -> tuple[KernelTime, ...]:
    """Kernel times per step, gathered by name, layer and phase, longest first.

    Args:
        events: all kernel events of the profiled steps.
        steps: how many steps those were.
    """
    seconds: dict[tuple[str, str | None, str | None], float] = defaultdict(float)
    calls: dict[tuple[str, str | None, str | None], int] = defaultdict(int)
    shares = share_out(events)
    for place, event in enumerate(events):
        key = (event.name, event.layer, event.phase)
        seconds[key] += shares.get(place, 0.0) * 1e-9
        calls[key] += event.calls
    times = [KernelTime(*key, seconds_per_step=seconds[key] / steps, calls_per_step=calls[key] / steps) for key in seconds]
    return tuple(sorted(times, key=lambda time: -time.seconds_per_step))
