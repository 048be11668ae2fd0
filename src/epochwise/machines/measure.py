"""The verb of this room: what this computer can do, measured once and re-used."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec.structs import replace

from epochwise.machines import store
from epochwise.machines.host import Host, host
from epochwise.machines.machine import Machine

Progress = Callable[[float, float, str], None]
"""``progress(done, total, text)``: how much is done of how much, in any unit, and what is being done now."""


def machine(refresh: bool = False, progress: Progress | None = None) -> Machine:
    """What this computer's processor can do at best: peak float32 FLOP/s, and bandwidth over working-set size.

    It is measured on the first call, which takes a few seconds, and kept in the user's cache folder (``EPOCHWISE_CACHE``
    names another); later calls, from any process, re-use that while processor, cores, caches and memory are the same.
    Figures taken on a busy computer are returned with a note, and not kept.

    Args:
        refresh: measure again and keep that.
        progress: called as ``progress(done, total, text)`` while measuring.
    """
    here = host()
    return kept_or(here.fingerprint, refresh, lambda: _measured(here, progress or _silent))


def kept_or(fingerprint: str, refresh: bool, measure: Callable[[], tuple[Machine, bool]]) -> Machine:
    """The machine kept for this fingerprint; else, or with ``refresh``, what ``measure()`` returns.

    ``measure()`` returns a machine and whether it is worth keeping.

    Notes on the keeping are in what is returned, and not in what is kept.
    """
    kept, notes = (None, []) if refresh else store.load(fingerprint)
    if kept is not None:
        return kept
    measured, keep = measure()
    if keep:
        notes += store.save(measured)
    return replace(measured, notes=(*measured.notes, *notes))


def _measured(here: Host, progress: Progress) -> tuple[Machine, bool]:
    # Numba comes in only here: a kept machine needs none of it.
    begin = time.perf_counter()
    progress(0, 1, "loading the kernels")
    from epochwise.machines import cpu
    from epochwise.machines.load import OtherLoad
    from epochwise.machines.timing import Crew

    total = cpu.pieces(here)
    done = iter(range(total + 1))

    def step(text: str) -> None:
        progress(next(done), total, text)

    load = OtherLoad()
    with Crew(here.cores) as crew:
        peak, about_peak = cpu.peak(here, crew, step)
        bandwidth, about_bandwidth = cpu.bandwidth(here, crew, step)
    around, quiet = cpu.surroundings(here, load.processors())
    progress(total, total, "measured")
    measured = Machine(
        name=here.name,
        device="cpu",
        cores=here.cores,
        caches=here.caches,
        memory_bytes=here.memory_bytes,
        peak_flops_per_second=peak,
        bandwidth=bandwidth,
        measured_at=now(),
        measuring_seconds=time.perf_counter() - begin,
        fingerprint=here.fingerprint,
        notes=(*around, *about_peak, *about_bandwidth),
    )
    return measured, quiet


def now() -> str:
    """This moment in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _silent(done: float, total: float, text: str) -> None:
    """Progress for those who do not ask for any."""
