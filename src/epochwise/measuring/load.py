"""Processor time that other programs use while something is measured."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

from epochwise.measuring.track import Track


class OtherLoad:
    """Processor time that neither the workers nor this process used, from the moment this is made.

    Args:
        tracks: the models whose workers count as our own.
    """

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tracks = tracks
        self._began = time.monotonic()
        self._busy = _busy_seconds()
        self._own = self._own_seconds()

    def others_since(self) -> float:
        """Cores that others kept busy since."""
        used = (_busy_seconds() - self._busy) - (self._own_seconds() - self._own)
        return max(0.0, used) / (time.monotonic() - self._began)

    def _own_seconds(self) -> float:
        return sum(track.cpu_seconds for track in self._tracks) + time.process_time()


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times)) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
