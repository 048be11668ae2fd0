"""Processor time that others take while something is measured: other programs, and other guests of the same computer."""

from __future__ import annotations

import os
import time

import psutil


class OtherLoad:
    """Processor time that this process did not use, from the moment this is made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._others = _others_seconds()

    def processors(self) -> float:
        """How many of the computer's processors others kept busy since, on average."""
        return max(0.0, _others_seconds() - self._others) / max(time.monotonic() - self._began, 1e-9)


def lacking(others: float, cores: int) -> float:
    """The share of ``cores`` that was not to be had while others kept so many processors busy: 0 if there was room for all."""
    return min(1.0, max(0.0, others + cores - (os.cpu_count() or cores)) / cores)


def _others_seconds() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user time already
    return float(sum(times)) - idle - guests - time.process_time()
