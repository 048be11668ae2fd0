"""Where an epoch goes: busy time by layer and phase, waiting, the turn between epochs, and what is left."""

from __future__ import annotations

import math
from collections import defaultdict

from epochwise.counting.counts import Counts, Work
from epochwise.explaining.explanation import Part
from epochwise.explaining.roofline import FLOPS_PER_MAC, work_seconds
from epochwise.machines.machine import Machine
from epochwise.measuring.measurement import Interval, ModelMeasurement

WAITING = "waiting"
TURN = "turn between epochs"
UNATTRIBUTED = "unattributed"


def steps_seconds(measured: ModelMeasurement) -> float:
    """Seconds of an epoch spent in its steps: all of it but the turn, where that was timed by itself."""
    return measured.epoch_seconds.median - turn_seconds(measured)


def turn_seconds(measured: ModelMeasurement) -> float:
    """Seconds of the turn that are part of the epoch's time."""
    return 0.0 if measured.whole_epochs else measured.turn_seconds or 0.0


def busy_seconds(measured: ModelMeasurement) -> Interval | None:
    """Busy seconds of an epoch: the profiled share of a step, applied to the undisturbed steps.

    Low and high are what it would be if the profiler's own cost fell wholly inside, or wholly outside the kernels.
    """
    profile = measured.profile
    if profile is None or not profile.busy_seconds_per_step:
        return None
    steps = steps_seconds(measured)
    low, high = profile.busy_share_bounds
    return Interval(profile.busy_share * steps, low * steps, high * steps)


def where(measured: ModelMeasurement, counts: Counts, machine: Machine) -> tuple[Part, ...]:
    """The parts of the epoch, longest first; their sum is the epoch time.

    Kernels that the profile assigns to no layer are "unattributed". Without a profile, all but the turn is.

    Args:
        measured: the model's part of a measurement.
        counts: of its training step, for what each layer achieves.
        machine: what it was measured on.
    """
    epoch, turn = measured.epoch_seconds.median, turn_seconds(measured)
    seconds: dict[tuple[str, str | None], float] = defaultdict(float)
    if turn:
        seconds[TURN, None] = turn
    busy = busy_seconds(measured)
    profile = measured.profile
    if busy is not None and profile is not None:
        seconds[WAITING, None] = steps_seconds(measured) - busy.median
        scale = busy.median / profile.busy_seconds_per_step
        for kernel in profile.kernels:
            if kernel.layer is not None:
                seconds[kernel.layer, kernel.phase] += kernel.seconds_per_step * scale
    seconds[UNATTRIBUTED, None] = epoch - math.fsum(seconds.values())
    rows = {row.name: row for row in counts.layers}
    steps = measured.samples / counts.batch_size
    parts = []
    for (name, phase), spent in seconds.items():
        work: Work | None = getattr(rows[name], phase) if phase is not None and name in rows else None
        parts.append(_part(name, phase, spent, epoch, work, steps, machine))
    return tuple(sorted(parts, key=lambda part: -part.seconds))


def _part(
    name: str, phase: str | None, seconds: float, epoch: float, work: Work | None, steps: float, machine: Machine
) -> Part:
    """One part, with what it achieves where work was counted for it."""
    if work is None or seconds <= 0 or not work_seconds(work, machine):
        return Part(name, phase, seconds, seconds / epoch)
    return Part(
        name,
        phase,
        seconds,
        seconds / epoch,
        roofline_seconds=steps * work_seconds(work, machine),
        flops_per_second=FLOPS_PER_MAC * work.macs * steps / seconds if work.macs else None,
        bytes_per_second=work.bytes * steps / seconds if work.bytes else None,
    )


def busy_by_layer(parts: tuple[Part, ...]) -> dict[str, float]:
    """Busy seconds of each layer, all phases together, longest first."""
    seconds: dict[str, float] = defaultdict(float)
    for part in parts:
        if part.phase is not None:
            seconds[part.name] += part.seconds
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))
