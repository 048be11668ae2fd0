"""How many threads run the steps of a program: as many as are quickest just now.

What the results are depends on the number of shares that a step is cut into, and not on who does them. So that number can
follow the machine. On a quiet one all threads help. But where cores are shared with other programs, or with other virtual
machines, a word can take twenty times as long from one core to another, and then a small network is trained faster by one.

What it does *not* do: choose the number of shares (``threads=``), or remember anything from one process to the next.
"""

from __future__ import annotations

import statistics
from collections import deque

TRIAL_SECONDS = 0.002
"""Of the steps by which a number of threads is judged; as many come before, until the threads are awake and have their data."""

PATIENCE = 100
"""A trial is worth it after so many times its own duration."""

_AT_ONCE_SECONDS = 0.01
"""Trials of up to this are made at the very beginning."""

_TRIALS = 3
"""The median of so many counts."""

_CLEARLY = 0.97
"""Times as long: what a number of threads must be quicker by before it is taken."""


class Workers:
    """Chooses among all threads, half of them, and so on down to one.

    Attributes:
        now: how many it has chosen.
    """

    def __init__(self, most: int) -> None:
        self.now = self._most = most
        self._taken: dict[int, deque[float]] = {}  # by number of threads: seconds of a step in the last trials
        self._waited: dict[int, float] = {}  # seconds of work since the last trial
        self._led_in = 0  # threads whose trial has begun
        while most:
            self._taken[most], self._waited[most] = deque(maxlen=_TRIALS), 0.0
            most = -(-most // 2) if most > 1 else 0

    def next(self, steps: int) -> tuple[int, int]:
        """How many threads run how many of these steps."""
        if len(self._taken) == 1:
            return self.now, steps
        if not self._taken[self._most]:
            return self._most, min(steps, 2)
        if self._led_in:
            return self._led_in, self._steps_of_trial(self._led_in, steps)
        for threads in sorted(self._taken, key=lambda number: len(self._taken[number])):
            many = self._steps_of_trial(threads, steps)
            seconds = 2 * many * self._expected(threads)
            new = len(self._taken[threads]) < _TRIALS
            due = self._waited[threads] >= PATIENCE * seconds and threads != self.now
            if due or (new and seconds <= _AT_ONCE_SECONDS):
                return threads, many
        return self.now, steps

    def took(self, threads: int, steps: int, seconds: float) -> None:
        """So many threads took so long for so many steps."""
        first = not self._taken[self._most]
        for other in self._waited:
            self._waited[other] += seconds
        if threads not in (self._led_in, self.now) and not first:
            self._led_in = threads
            return
        self._led_in, self._waited[threads] = 0, 0.0
        self._taken[threads].append(seconds / steps)
        quickest = min((number for number in self._taken if self._taken[number]), key=self._expected)
        if self._expected(quickest) < _CLEARLY * self._expected(self.now):
            self.now = quickest

    def _steps_of_trial(self, threads: int, steps: int) -> int:
        return min(steps, max(1, round(TRIAL_SECONDS / self._expected(threads))))

    def _expected(self, threads: int) -> float:
        """Seconds of a step, at most: where it was never tried, as if nothing else than threads made it quick."""
        if self._taken[threads]:
            return statistics.median(self._taken[threads])
        return statistics.median(self._taken[self._most]) * self._most / threads
