"""Processor time that others take while something is measured: other programs, and other guests of the same computer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil

LEAST_NAMED_SECONDS = 0.5
"""Of processor time, for a program to be named."""


class OtherLoad:
    """Processor time that is not ours, from the moment this is made.

    Args:
        own: processor seconds that count as ours; by default those of this process.
    """

    def __init__(self, own: Callable[[], float] | None = None) -> None:
        self._own = own or time.process_time
        self._began = time.monotonic()
        self._others = self._seconds()
        self._before = {
            process.info["pid"]: process.info["cpu_times"].user + process.info["cpu_times"].system
            for process in psutil.process_iter(["pid", "cpu_times"])
            if process.info["cpu_times"] is not None
        }

    def processors(self) -> float:
        """How many of the computer's processors others kept busy since, on average."""
        return max(0.0, self._seconds() - self._others) / max(time.monotonic() - self._began, 1e-9)

    def names(self) -> str:
        """The programs that used most, in brackets with a space before; empty where none can be told.

        Programs of this process's own session, such as its workers, and those that have ended are not among them.
        """
        found: dict[str, float] = {}
        ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        for process in psutil.process_iter(["pid", "name", "cpu_times"]):
            times = process.info["cpu_times"]
            if process.info["pid"] in ours or times is None:
                continue
            used = times.user + times.system - self._before.get(process.info["pid"], 0.0)
            found[process.info["name"]] = found.get(process.info["name"], 0.0) + used
        most = [name for name, used in sorted(found.items(), key=lambda item: -item[1]) if used >= LEAST_NAMED_SECONDS][:2]
        return f" ({', '.join(most)})" if most else ""

    def _seconds(self) -> float:
        return _busy_seconds() - self._own()


def lacking(others: float, cores: int) -> float:
    """The share of ``cores`` that was not to be had while others kept so many processors busy: 0 if there was room for all."""
    return min(1.0, max(0.0, others + cores - (os.cpu_count() or cores)) / cores)


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user time already
    return float(sum(times)) - idle - guests
