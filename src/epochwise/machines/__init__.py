"""What this computer can do at best: peak FLOP/s and bandwidth, measured, kept per machine and re-used."""

from __future__ import annotations

from typing import TYPE_CHECKING

# Before the function of the same name is defined: the first import of a submodule binds its name here.
from epochwise.machines.machine import BandwidthPoint, Cache, Machine, Peak

if TYPE_CHECKING:
    from epochwise.machines.measure import Progress

__all__ = ["BandwidthPoint", "Cache", "Machine", "Peak", "machine"]


def machine(refresh: bool = False, progress: Progress | None = None) -> Machine:
    """What this computer's processor can do at best, see :func:`epochwise.machines.measure.machine`."""
    from epochwise.machines import measure

    return measure.machine(refresh, progress)
