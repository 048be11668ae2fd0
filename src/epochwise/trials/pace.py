"""How long the trials that are left will take, judged by those that are done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from epochwise.trials.trial import Trial

_MINUTE, _HOUR = 60, 3600


class Pace:
    """Costs, done and left, and the seconds that a unit of cost takes.

    Functions differ in what their costs mean, so each has its own rate; one of which nothing is known yet takes that of all the
    others.

    Args:
        plan: all trials, each once.
        taken: seconds of those that are done, by key.
        workers: how many trials run at once.

    Attributes:
        workers: may change any time.
        done: cost of those that are done, or failed.
        total: cost of all.
    """

    def __init__(self, plan: Sequence[Trial], taken: Mapping[str, float], workers: int) -> None:
        self.workers = workers
        self.total = sum(trial.cost for trial in plan)
        self.done = 0.0
        self._trials = len(plan)
        self._left = {trial.key: trial for trial in plan}
        self._known: dict[str, tuple[float, float]] = {}  # by function: seconds, cost
        self._changed = time.monotonic()
        for key, seconds in taken.items():
            self.finished(key, seconds)

    def finished(self, key: str, seconds: float) -> None:
        """A trial took so many seconds."""
        trial = self._left[key]
        before_seconds, before_cost = self._known.get(trial.run, (0.0, 0.0))
        self._known[trial.run] = (before_seconds + seconds, before_cost + trial.cost)
        self.failed(key)

    def failed(self, key: str) -> None:
        """A trial will not be run any more, and says nothing of how long others take."""
        self.done += self._left.pop(key).cost
        self._changed = time.monotonic()

    def seconds_left(self) -> float | None:
        """On so many workers as there are now; 0 when all are done, ``None`` while nothing is known.

        At least the longest trial, at least the sum shared out; since the last trial that ended, the clock has gone on.
        """
        if not self._left:
            return 0.0
        seconds = sum(known[0] for known in self._known.values())
        cost = sum(known[1] for known in self._known.values())
        if cost == 0:
            return None
        rates = {run: known[0] / known[1] for run, known in self._known.items()}
        left = [trial.cost * rates.get(trial.run, seconds / cost) for trial in self._left.values()]
        return max(0.0, max(sum(left) / self.workers, *left) - (time.monotonic() - self._changed))

    def sentence(self) -> str:
        """``17 of 60 trials, about 3 min left``."""
        counts = f"{self._trials - len(self._left)} of {self._trials} trials"
        seconds = self.seconds_left()
        return counts if not seconds else f"{counts}, {_about(seconds)} left"


def _about(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"about {max(1, round(seconds))} s"
    if seconds < _HOUR:
        return f"about {seconds / _MINUTE:.0f} min"
    return f"about {seconds / _HOUR:.1f} h"
