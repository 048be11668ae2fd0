"""Where an epoch goes: kernels by layer and phase, dispatch, input, callbacks, validation, the turn, and what is left."""

from __future__ import annotations

import math
from collections import defaultdict

from epochwise.counting.counts import Counts, Work
from epochwise.explaining.attribution import Attribution, attribution
from epochwise.explaining.explanation import Part
from epochwise.explaining.roofline import FLOPS_PER_MAC, work_seconds
from epochwise.machines.machine import Machine
from epochwise.measuring.measurement import DISPATCH, ModelMeasurement

UNATTRIBUTED = "unattributed"


def where(measured: ModelMeasurement, counts: Counts, machine: Machine) -> tuple[Part, ...]:
    """The parts of the epoch, longest first; their sum is the epoch time.

    Kernels that the profile assigns to no layer are "unattributed". Without a profile, all is that was not timed by itself.

    Args:
        measured: the model's part of a measurement.
        counts: of its training step, for what each layer achieves.
        machine: what it was measured on.
    """
    epoch, split = measured.epoch_seconds.median, attribution(measured)
    seconds: dict[tuple[str, str | None], float] = defaultdict(float)
    for place, spent in (*split.waits.items(), *split.turn.items()):
        seconds[place, None] += spent
    if split.dispatch is not None and measured.profile is not None:
        seconds[DISPATCH, None] = split.dispatch
        for kernel in measured.profile.kernels:
            if kernel.layer is not None:
                seconds[kernel.layer, kernel.phase] += kernel.seconds_per_step * split.scale
    seconds[UNATTRIBUTED, None] = epoch - math.fsum(seconds.values())
    rows = {row.name: row for row in counts.layers}
    steps = measured.samples / counts.batch_size
    spread = _spread(measured, split)
    parts = []
    for (name, phase), spent in seconds.items():
        work: Work | None = getattr(rows[name], phase) if phase is not None and name in rows else None
        parts.append(_part(name, phase, spent, epoch, work, steps, machine, spread.get((name, phase))))
    return tuple(sorted(parts, key=lambda part: -part.seconds))


def _spread(measured: ModelMeasurement, split: Attribution) -> dict[tuple[str | None, str | None], tuple[float, float]]:
    if measured.profile is None:
        return {}
    return {(row.layer, row.phase): (row.low * split.scale, row.high * split.scale) for row in measured.profile.spread}


def _part(
    name: str,
    phase: str | None,
    seconds: float,
    epoch: float,
    work: Work | None,
    steps: float,
    machine: Machine,
    spread: tuple[float, float] | None,
) -> Part:
    """One part, with what it achieves where work was counted for it."""
    low, high = spread or (None, None)
    if work is None or seconds <= 0 or not work_seconds(work, machine):
        return Part(name, phase, seconds, seconds / epoch, low=low, high=high)
    return Part(
        name,
        phase,
        seconds,
        seconds / epoch,
        roofline_seconds=steps * work_seconds(work, machine),
        flops_per_second=FLOPS_PER_MAC * work.macs * steps / seconds if work.macs else None,
        bytes_per_second=work.bytes * steps / seconds if work.bytes else None,
        low=low,
        high=high,
    )


def busy_by_layer(parts: tuple[Part, ...]) -> dict[str, float]:
    """Busy seconds of each layer, all phases together, longest first."""
    seconds: dict[str, float] = defaultdict(float)
    for part in parts:
        if part.phase is not None:
            seconds[part.name] += part.seconds
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))
