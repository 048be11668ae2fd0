"""Seconds by cause and place, moved from one cause to another so that nothing is lost and nothing is counted twice."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

from epochwise.explaining.explanation import Cause, PlaceSeconds

Place = tuple[str | None, str | None]
"""A layer, callback or part of the step, with the phase of a layer; each ``None`` where unknown."""


class Taken(NamedTuple):
    """Seconds that a rule takes from a cause in a place."""

    cause: str
    place: Place
    seconds: float


class Finding(NamedTuple):
    """What a rule found: a cause without its seconds, and the seconds that it takes from others.

    Attributes:
        cause: its seconds are those taken.
        takes: from whom.
        places: where it takes its seconds, if that is not where they are taken from.
    """

    cause: Cause
    takes: tuple[Taken, ...]
    places: tuple[PlaceSeconds, ...] | None = None


class Accounts:
    """Seconds of an epoch by cause and place."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, defaultdict[Place, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, cause: str, name: str | None, phase: str | None, seconds: float) -> None:
        """Put seconds to a cause."""
        self._seconds[cause][name, phase] += seconds

    def drop(self, cause: str) -> None:
        """Forget a cause and its seconds."""
        self._seconds.pop(cause, None)

    def total(self, cause: str) -> float:
        """All seconds of a cause."""
        return math.fsum(self._seconds[cause].values()) if cause in self._seconds else 0.0

    def totals(self) -> dict[str, float]:
        """Seconds by cause."""
        return {cause: self.total(cause) for cause in self._seconds}

    def of(self, cause: str) -> dict[Place, float]:
        """Seconds of a cause by place."""
        return dict(self._seconds[cause]) if cause in self._seconds else {}

    def at(self, cause: str, place: Place) -> float:
        """Seconds of a cause in one place."""
        return self.of(cause).get(place, 0.0)

    def places(self, cause: str) -> tuple[PlaceSeconds, ...]:
        """Where a cause takes its seconds, most first."""
        return listed(self.of(cause))

    def all_of(self, cause: str, where: str | None = None) -> tuple[Taken, ...]:
        """Everything that a cause has, or has in places of this name."""
        return tuple(
            Taken(cause, place, seconds) for place, seconds in self.of(cause).items() if where is None or place[0] == where
        )

    def share_of(self, seconds: float, causes: tuple[str, ...]) -> tuple[Taken, ...]:
        """So many seconds from these causes, first from the first as far as it goes, in proportion to its places."""
        taken: list[Taken] = []
        for cause in causes:
            positive = {place: value for place, value in self.of(cause).items() if value > 0}
            whole = min(math.fsum(positive.values()), self.total(cause))
            share = min(seconds, whole)
            if share > 0:
                scale = share / math.fsum(positive.values())
                taken += [Taken(cause, place, value * scale) for place, value in positive.items()]
                seconds -= share
        return tuple(taken)

    def settle(self, finding: Finding) -> Cause:
        """Move the seconds of a finding, and give its cause with them."""
        places: defaultdict[Place, float] = defaultdict(float)
        for take in finding.takes:
            self._seconds[take.cause][take.place] -= take.seconds
            places[take.place] += take.seconds
        cause = finding.cause
        return Cause(
            cause.name,
            math.fsum(take.seconds for take in finding.takes),
            cause.evidence,
            cause.sure,
            cause.rule,
            cause.remedy,
            cause.left_seconds,
            listed(places) if finding.places is None else finding.places,
        )


LEAST_LISTED = 0.01
"""Of a cause; places with less are not listed."""


def listed(seconds: dict[Place, float]) -> tuple[PlaceSeconds, ...]:
    """Places that are known and matter, most first."""
    least = LEAST_LISTED * max(math.fsum(seconds.values()), 0.0)
    found = [PlaceSeconds(name, phase, value) for (name, phase), value in seconds.items() if name is not None and value > least]
    return tuple(sorted(found, key=lambda place: -place.seconds))
