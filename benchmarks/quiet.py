"""Whether the machine gives a program its cores in full just now.

A virtual machine may share its physical cores with others: its own cores may be two threads of one, or somebody else's program
may run on the other thread of each. Then whatever keeps the cores' arithmetic units busy takes up to twice as long, for a
second or for an hour, and whatever mostly waits hardly any longer; no steal time is reported. A few milliseconds of
multiply-adds on all cores at once show it.
"""

from __future__ import annotations

import os
import time
from functools import partial

from epochwise.machines import kernels
from epochwise.machines.timing import Crew

PROBE_SECONDS = 0.008
UNDISTURBED = 1.2
"""Times the shortest probe so far."""


class Probe:
    """Multiply-adds on all cores at once, against the shortest time that they took in this run. A context manager."""

    def __init__(self) -> None:
        cores = len(os.sched_getaffinity(0))
        self._crew = Crew(cores)
        self._length = max(kernels.vector_lengths())
        self._steps = 10_000
        self._seconds()  # loads the kernel
        self._steps = round(self._steps * PROBE_SECONDS / min(self._seconds() for _ in range(10)))
        self._best = min(self._seconds() for _ in range(50))

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.__exit__(None, None, None)

    def _seconds(self) -> float:
        task = partial(kernels.multiply_add, self._length, self._steps, 0.999, 0.001)
        return self._crew.seconds([task] * self._crew.cores)

    def slowdown(self) -> float:
        """How many times as long as at best the cores take now."""
        seconds = self._seconds()
        self._best = min(self._best, seconds)
        return seconds / self._best

    def wait(self, most: float) -> float:
        """Until the cores are given in full, at most so many seconds; the slowdown that it ended with."""
        end = time.monotonic() + most
        while (slowdown := self.slowdown()) > UNDISTURBED and time.monotonic() < end:
            time.sleep(0.05)
        return slowdown
