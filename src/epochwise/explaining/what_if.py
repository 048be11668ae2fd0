"""What an epoch would take if one thing were otherwise: predictions from what was measured."""

from __future__ import annotations

import math

from epochwise.explaining.attribution import attribution
from epochwise.explaining.explanation import ModelExplanation, WhatIf
from epochwise.measuring.measurement import BATCH, Interval, Probe

NO_WAITING = "no waiting"
AT_ROOFLINE = "kernels at the roofline"


def what_ifs(model: ModelExplanation) -> tuple[WhatIf, ...]:
    """Predicted epochs, shortest first; those that rest on a profile only where there is one.

    Kernels that are no slower than the roofline already have nothing to gain by it.
    """
    measured = model.measurement
    epoch, split = model.epoch_seconds.median, attribution(measured)
    turn = math.fsum(split.turn.values())
    found = [_larger_batch(probe, model, turn) for probe in measured.probes if probe.name == BATCH]
    busy = split.busy
    if busy is not None:
        found.append(
            WhatIf(
                NO_WAITING,
                Interval(busy.median + turn, busy.low + turn, busy.high + turn),
                "a kernel always runs during a step; kernels and the turn between epochs stay as they are",
            )
        )
        if 0 < model.roofline_seconds < busy.median:
            rest = epoch + model.roofline_seconds
            found.append(
                WhatIf(
                    AT_ROOFLINE,
                    Interval(rest - busy.median, rest - busy.high, rest - busy.low),
                    "every layer as fast as this machine's peak and bandwidth allow; waiting stays as it is",
                )
            )
    return tuple(sorted(found, key=lambda item: item.epoch_seconds.median))


def _larger_batch(probe: Probe, model: ModelExplanation, turn: float) -> WhatIf:
    """From steps that were timed with the larger batch."""
    steps = math.ceil(model.measurement.samples / probe.batch_size)
    step = probe.seconds_per_step
    return WhatIf(
        f"a batch of {probe.batch_size}",
        Interval(*(steps * seconds + turn for seconds in (step.median, step.low, step.high))),
        f"{steps:,} steps like the {probe.steps} that were timed; the turn between epochs stays; it trains otherwise, too",
    )
