"""Causes: the epoch of one model, taken apart along the time identity into seconds that add up."""

from __future__ import annotations

from epochwise.counting.counts import Counts
from epochwise.explaining.explanation import Cause, ModelExplanation
from epochwise.explaining.identity import Quantities, factors_of
from epochwise.explaining.places import TURN, busy_by_layer, busy_seconds, steps_seconds, turn_seconds, where
from epochwise.explaining.roofline import arithmetic_seconds, epoch_flops, roofline_seconds
from epochwise.explaining.wording import percent, seconds_text, times
from epochwise.machines.machine import Machine
from epochwise.measuring.measurement import Interval, ModelMeasurement

ARITHMETIC = "arithmetic"
MEMORY = "memory traffic"
KERNELS = "kernel path"
OVERHEAD = "per-step overhead"
KERNELS_OR_OVERHEAD = "kernel path or per-step overhead"


def explain_model(counts: Counts, measured: ModelMeasurement, machine: Machine) -> tuple[ModelExplanation, Quantities]:
    """One model's explanation, and the quantities that its factors are made of.

    Args:
        counts: of its training step.
        measured: its part of a measurement.
        machine: what it was measured on.
    """
    known = Quantities(
        parameters=counts.parameters.total,
        flops=epoch_flops(counts, measured.samples),
        peak=machine.peak,
        roofline=roofline_seconds(counts, measured.samples, machine),
        busy=busy_seconds(measured),
        wall=measured.epoch_seconds.median,
    )
    parts = where(measured, counts, machine)
    explanation = ModelExplanation(
        name=measured.name,
        counts=counts,
        epoch_seconds=measured.epoch_seconds,
        first_epoch_seconds=measured.first_epoch_seconds,
        arithmetic_seconds=arithmetic_seconds(counts, measured.samples, machine),
        roofline_seconds=known.roofline,
        busy_seconds=known.busy,
        factors=factors_of(known),
        where=parts,
        causes=_causes(counts, measured, machine, known, busy_by_layer(parts)),
        measurement=measured,
    )
    return explanation, known


def _causes(
    counts: Counts, measured: ModelMeasurement, machine: Machine, known: Quantities, layers: dict[str, float]
) -> tuple[Cause, ...]:
    arithmetic = arithmetic_seconds(counts, measured.samples, machine)
    steps, turn = steps_seconds(measured), turn_seconds(measured)
    causes = [
        Cause(
            ARITHMETIC,
            arithmetic,
            f"{counts.per_sample.training_macs:,} MACs a sample at a peak of {machine.peak / 1e9:,.0f} GFLOP/s",
        ),
        Cause(
            MEMORY,
            known.roofline - arithmetic,
            "layers whose bytes take longer than their FLOPs, at the bandwidth measured for their size",
        ),
    ]
    if known.busy is None:
        causes.append(Cause(KERNELS_OR_OVERHEAD, steps - known.roofline, "no profile could be made that would tell them apart"))
    else:
        causes.append(Cause(KERNELS, known.busy.median - known.roofline, _kernel_evidence(known.busy, known.roofline, layers)))
        causes.append(Cause(OVERHEAD, steps - known.busy.median, _overhead_evidence(measured, known.busy, steps)))
    if turn:
        causes.append(Cause(TURN, turn, "usual turn seen: from the last step of an epoch to the first of the next"))
    return tuple(sorted(causes, key=lambda cause: -cause.seconds))


def _kernel_evidence(busy: Interval, roofline: float, layers: dict[str, float]) -> str:
    busiest = [f"{name} {percent(seconds / busy.median)}" for name, seconds in list(layers.items())[:3]]
    shares = f"; of the busy time: {', '.join(busiest)}" if busiest else ""
    return f"kernels run for {seconds_text(busy.median)}, {times(busy.median / roofline)} times their roofline{shares}"


def _overhead_evidence(measured: ModelMeasurement, busy: Interval, steps: float) -> str:
    waiting = steps - busy.median
    each = waiting / measured.steps_per_epoch
    return (
        f"in {percent(waiting / steps)} of a step no kernel runs: {seconds_text(each)} in each of"
        f" {measured.steps_per_epoch:,} steps, for dispatch, Python and input"
    )
