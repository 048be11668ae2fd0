"""A typical step from a recording: busy time (the union of kernels over threads, shared out) and what the host did otherwise.

Nothing here knows a framework: a profile reader turns its framework's events into :class:`KernelEvent` and :class:`HostSpan`.
A recording is cut into its steps at a kernel that runs once in each. Of each figure the median over the steps counts, so that
one disturbed step does not bend the shares.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple, TypeVar

from epochwise.measuring.measurement import DISPATCH, IdleTime, KernelTime

FEWEST_STEPS = 3
"""That a median is taken of; a recording with fewer is taken as a whole."""

Key = TypeVar("Key")


class KernelEvent(NamedTuple):
    """One run of a kernel: when (nanoseconds on any common clock), what, and for which layer and phase, if known.

    A kernel that is interrupted by others that it calls is given in pieces, of which only the first has ``calls`` 1. So is one
    that works for several layers.
    """

    start: float
    end: float
    name: str
    layer: str | None = None
    phase: str | None = None
    calls: int = 1


class HostSpan(NamedTuple):
    """A stay of the training loop's thread in one place; of several at once the one that began last counts."""

    start: float
    end: float
    place: str
    layer: str | None = None
    phase: str | None = None


class TypicalStep(NamedTuple):
    """What :func:`typical_step` finds; seconds per step.

    Attributes:
        wall: length of a step; ``None`` where the steps could not be told apart.
        kernels: time by kernel, longest first.
        idle: time in which no kernel ran; only where ``wall`` is known does it hold all of it.
        stays: time of the host in each place, whether kernels ran or not.
    """

    wall: float | None
    kernels: tuple[KernelTime, ...]
    idle: tuple[IdleTime, ...]
    stays: dict[str, float]


KernelKey = tuple[str, str | None, str | None]
IdleKey = tuple[str, str | None, str | None]


class _Window:
    """What was seen in one step of the recording, in nanoseconds."""

    def __init__(self, length: float) -> None:
        self.length = length
        self.kernels: defaultdict[KernelKey, float] = defaultdict(float)
        self.idle: defaultdict[IdleKey, float] = defaultdict(float)
        self.stays: defaultdict[str, float] = defaultdict(float)


def typical_step(events: Sequence[KernelEvent], spans: Sequence[HostSpan], steps: int) -> TypicalStep:
    """A typical step of a recording.

    At each moment at which k kernels are under way, each is given 1/k of the moment, so that the shares of all add up to the
    time in which at least one runs. A moment in which none runs goes to the place where the host is.

    Args:
        events: all kernel events of the profiled steps.
        spans: stays of the host.
        steps: how many steps were profiled.
    """
    cuts = _cuts(events, steps)
    calls = Counter[KernelKey]()
    for event in events:
        calls[event[2:5]] += event.calls
    if len(cuts) > FEWEST_STEPS:
        windows = _windows(events, spans, cuts)
        typical: Callable[[list[float]], float] = _typical
        wall: float | None = median(window.length for window in windows) * 1e-9
        scale = 1e-9
    else:
        edges = [moment for event in events for moment in (event.start, event.end)]
        edges += [moment for span in spans for moment in (span.start, span.end)]
        windows = _windows(events, spans, [min(edges, default=0.0), max(edges, default=0.0)])
        typical, wall, scale = fmean, None, 1e-9 / steps
    kernels = [
        KernelTime(*key, seconds_per_step=seconds * scale, calls_per_step=calls[key] / steps)
        for key, seconds in _gathered([window.kernels for window in windows], typical).items()
    ]
    kernels.sort(key=lambda kernel: -kernel.seconds_per_step)
    idle = _gathered([window.idle for window in windows], typical)
    stays = _gathered([window.stays for window in windows], typical)
    return TypicalStep(
        wall,
        tuple(kernels),
        tuple(IdleTime(*key, seconds_per_step=seconds * scale) for key, seconds in idle.items()),
        {place: seconds * scale for place, seconds in stays.items()},
    )


def _typical(values: list[float]) -> float:
    """The median; the mean of what happens in fewer than half of the steps, such as a report at every tenth."""
    return median(values) or fmean(values)


def _gathered(windows: list[defaultdict[Key, float]], typical: Callable[[list[float]], float]) -> dict[Key, float]:
    names = dict.fromkeys(name for window in windows for name in window)
    return {name: typical([window.get(name, 0.0) for window in windows]) for name in names}


def _cuts(events: Iterable[KernelEvent], steps: int) -> list[float]:
    """Moments at which steps begin: the starts of the longest-running kernel of those that run once in each step."""
    starts: defaultdict[KernelKey, list[float]] = defaultdict(list)
    seconds: defaultdict[KernelKey, float] = defaultdict(float)
    for event in events:
        seconds[event[2:5]] += event.end - event.start
        if event.calls:
            starts[event[2:5]].append(event.start)
    once = [key for key, found in starts.items() if len(found) == steps]
    return sorted(starts[max(once, key=lambda key: seconds[key])]) if once else []


def _windows(events: Sequence[KernelEvent], spans: Sequence[HostSpan], cuts: list[float]) -> list[_Window]:
    """The recording between the cuts."""
    edges: list[tuple[float, int, int]] = []
    for place, event in enumerate(events):
        if event.end > event.start:
            edges += ((event.start, 2, place), (event.end, 0, place))
    for place, span in enumerate(spans):
        if span.end > span.start:
            edges += ((span.start, 3, place), (span.end, 1, place))
    edges += ((cut, 4, 0) for cut in cuts)
    edges.sort()
    windows = [_Window(end - start) for start, end in pairwise(cuts)]
    running: set[int] = set()
    inside: dict[int, HostSpan] = {}
    number, before = -1, 0.0
    for moment, what, place in edges:
        if moment > before and 0 <= number < len(windows):
            window, length = windows[number], moment - before
            here = next(reversed(inside.values())) if inside else None
            if here is not None:
                window.stays[here.place] += length
            for kernel in running:
                window.kernels[events[kernel][2:5]] += length / len(running)
            if not running:
                window.idle[here[2:5] if here else (DISPATCH, None, None)] += length
        before = moment
        if what == 0:
            running.discard(place)
        elif what == 1:
            inside.pop(place, None)
        elif what == 2:  # noqa: PLR2004 - ends before beginnings, cuts last
            running.add(place)
        elif what == 3:  # noqa: PLR2004
            inside[place] = spans[place]
        else:
            number += 1
    return windows
