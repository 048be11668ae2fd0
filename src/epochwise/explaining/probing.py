"""What probes say: a few steps with one thing changed, beside as many usual ones."""

from __future__ import annotations

import math

from epochwise.explaining.evidence import Case
from epochwise.measuring.measurement import BATCH, DENORMALS_OUT, NOT_COMPILED, ONE_THREAD, Probe

__all__ = ["BATCH", "DENORMALS_OUT", "NOT_COMPILED", "ONE_THREAD", "fixed_share", "gain"]

LEAST_GAIN = 0.05
"""Of a step; what a probe gains below that is not told from chance."""


def gain(probe: Probe | None, case: Case) -> float | None:
    """Seconds of an epoch that a probe shows to be spared; ``None`` where it shows none beyond chance."""
    if probe is None:
        return None
    usual, now = probe.usual_seconds_per_step, probe.seconds_per_step
    share = 1 - now.median / usual
    if share < LEAST_GAIN or not probe.shortens:
        return None
    return share * (case.epoch - math.fsum(case.split.turn.values()))


def fixed_share(case: Case) -> tuple[Probe, float] | None:
    """Which share of a step is the same whatever its batch: the line through the step times of two batch sizes, at no sample.

    Both were timed one beside the other, so the share holds for a machine that was faster or slower in the undisturbed blocks.
    """
    probe = case.probe(BATCH)
    batch = case.measured.batch_size
    if probe is None or probe.batch_size <= batch:
        return None
    usual = probe.usual_seconds_per_step
    slope = (probe.seconds_per_step.median - usual) / (probe.batch_size - batch)
    return probe, max(0.0, 1 - max(0.0, slope) * batch / usual)
