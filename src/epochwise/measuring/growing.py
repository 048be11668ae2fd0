"""Steps that grow slower while a model trains: whether they do, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from epochwise.measuring.measurement import Growth
from epochwise.measuring.statistics import growth

LEAST_GROWTH = 0.1
"""Of a step, sure by its interval; what drifts by less is left to the machine."""
ALIKE = 0.5
"""What slows down by at least this part of it slows down alike."""
LEAST_DENORMALS = 1e-3
LEAST_MEMORY = 0.1
"""Of the process, by which it grew from first to last quarter."""
MEGABYTE = 1e6


class Course(NamedTuple):
    """What was seen of a model while it trained, block by block.

    Attributes:
        steps: seconds of a step.
        resident: size of the process after the block.
        paces: seconds of a piece of work that is always the same, done after the block.
        hosts: where the loop's thread was, in seconds of a step, by place.
        found: what was found in the model at last; see :attr:`~epochwise.measuring.messages.Paused.found`.
        denormals_cost: whether steps were shorter without the denormal weights, ``None`` where that was not tried.
        others: seconds of a step of the models that were measured in turn with this one.
    """

    steps: Sequence[float]
    resident: Sequence[int] = ()
    paces: Sequence[float] = ()
    hosts: Sequence[Mapping[str, float]] = ()
    found: Mapping[str, float] = {}
    denormals_cost: bool | None = None
    others: Sequence[Sequence[float]] = ()


def growth_of(course: Course) -> Growth | None:
    """Whether and why the steps of a model grow slower; ``None`` where they do not."""
    seen = growth(course.steps)
    if seen.median < LEAST_GROWTH or seen.low <= 0:
        return None
    cause, evidence = _why(course, seen.median)
    return Growth(seen.median, seen.low, seen.high, cause, evidence)


def _why(course: Course, grown: float) -> tuple[str, str]:
    """Cause and evidence; what was timed comes before what only changed meanwhile."""
    place = _place(course)
    if place is not None:
        return place
    denormals = course.found.get("denormals", 0.0)
    if denormals >= LEAST_DENORMALS and course.denormals_cost is not False:
        return "denormals", f"{denormals:.1%} of the weights have become denormal (below 1.2e-38)"
    if any(growth(other).median >= ALIKE * grown for other in course.others):
        return "machine", "the other model, measured in turn, slows down alike: the machine throttles, or others use it"
    pace = growth(course.paces).median if course.paces else None
    if pace is not None and pace >= ALIKE * grown:
        return "machine", f"a piece of work that is always the same takes {pace:.0%} longer too: it throttles, or others use it"
    resident = course.resident
    if resident and growth(resident).median >= LEAST_MEMORY:  # the profiler, which comes early, takes memory once
        grew = (resident[-1] - resident[0]) / MEGABYTE
        return (
            "memory",
            f"the process grew by {grew:,.0f} MB meanwhile: something is kept, and perhaps gone through in each step",
        )
    if pace is not None:
        same = "a piece of work that is always the same takes as long as at first, so it is not the machine"
        return "training", f"{same}: each step does more than the one before"
    return "unknown", "nothing was found that explains it: throttling of the processor, or the training itself"


def _place(course: Course) -> tuple[str, str] | None:
    """The callback, or the input, that most of the growth is in."""
    quarter = len(course.steps) // 4
    if len(course.hosts) != len(course.steps):
        return None

    def typical(place: str, part: slice) -> float:
        return float(np.median([host.get(place, 0.0) for host in course.hosts[part]]))

    first, last = slice(None, quarter), slice(-quarter, None)
    whole = float(np.median(course.steps[last]) - np.median(course.steps[first]))
    grown = {
        place: typical(place, last) - typical(place, first)
        for place in dict.fromkeys(place for host in course.hosts for place in host)
    }
    most = max(grown, key=lambda place: grown[place], default=None)
    if most is None or grown[most] < ALIKE * whole:
        return None
    return most, f"{most} takes {grown[most] * 1e3:.3g} ms longer in each step than at first"
