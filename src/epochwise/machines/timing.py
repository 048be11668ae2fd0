"""How short kernels are timed: several threads at once, repeated until the repeats agree."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import msgspec

TARGET_SECONDS = 0.008
"""How long one repeat should take: far above the clock's grain and a thread's start, short against a scheduler's turns."""

REPEATS, MOST_REPEATS = 5, 15
AGREEMENT = 0.05
"""Repeats go on, up to ``MOST_REPEATS``, while they spread more than this."""


class Rates(msgspec.Struct, frozen=True):
    """Work per second, once for each repeat."""

    each: tuple[float, ...]

    @property
    def best(self) -> float:
        """The fastest repeat: what disturbed it least."""
        return max(self.each)

    @property
    def spread(self) -> float:
        """Interquartile range over median."""
        first, median, third = statistics.quantiles(self.each, n=4, method="inclusive")
        return (third - first) / median


class Crew:
    """One Python thread per core, which start together. A context manager; its threads end with it."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="epochwise-machine")
        self._start = threading.Barrier(cores)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._start.abort()  # after Ctrl-C some may still wait for the others
        self._pool.shutdown(cancel_futures=True)

    def seconds(self, tasks: Sequence[Callable[[], object]]) -> float:
        """Run one task per core, all at once: seconds from the first start to the last end.

        Raises:
            Exception: whatever a task raised.
        """

        def run(task: Callable[[], object]) -> tuple[float, float]:
            self._start.wait()
            begin = time.perf_counter()
            task()
            return begin, time.perf_counter()

        spans = [future.result() for future in [self._pool.submit(run, task) for task in tasks]]
        return max(end for _, end in spans) - min(begin for begin, _ in spans)


def calibrate(seconds: Callable[[int], float], times: int = 1) -> int:
    """How many times to loop inside a kernel so that one call takes about ``TARGET_SECONDS``; warms it up on the way."""
    while True:
        taken = seconds(times)
        if taken >= TARGET_SECONDS / 4:
            return max(1, round(times * TARGET_SECONDS / taken))
        times = max(times + 1, min(times * 16, round(times * TARGET_SECONDS / max(taken, 1e-9))))


def rates(seconds: Callable[[], float], work: float) -> Rates:
    """Repeat until the repeats agree, or until there are ``MOST_REPEATS``; ``work`` is what one repeat does."""
    each: list[float] = []
    while len(each) < REPEATS or (len(each) < MOST_REPEATS and Rates(tuple(each)).spread > AGREEMENT):
        each.append(work / seconds())
    return Rates(tuple(each))
