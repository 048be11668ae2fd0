"""Causes: the epoch of one model, taken apart into seconds that add up.

The time identity gives the base: arithmetic, memory traffic, kernels beyond the roofline, time without a kernel. Then each rule
of :mod:`epochwise.explaining.rules` looks whether the measurements show something more exact, and takes its seconds from there.
"""

from __future__ import annotations

from epochwise.counting.counts import Counts
from epochwise.explaining.accounts import Accounts
from epochwise.explaining.attribution import attribution
from epochwise.explaining.base import describe
from epochwise.explaining.evidence import Case, calls_python, only_moves
from epochwise.explaining.explanation import Cause, ModelExplanation
from epochwise.explaining.identity import Quantities, factors_of
from epochwise.explaining.places import UNATTRIBUTED, where
from epochwise.explaining.roofline import arithmetic_seconds, epoch_flops, roofline_seconds
from epochwise.explaining.rules import RULES, first_epoch
from epochwise.explaining.vocabulary import ARITHMETIC, KERNELS, KERNELS_OR_OVERHEAD, MEMORY, OVERHEAD
from epochwise.machines.machine import Machine
from epochwise.measuring.measurement import ModelMeasurement


def explain_model(counts: Counts, measured: ModelMeasurement, machine: Machine) -> tuple[ModelExplanation, Quantities]:
    """One model's explanation, and the quantities that its factors are made of.

    Args:
        counts: of its training step.
        measured: its part of a measurement.
        machine: what it was measured on.
    """
    split = attribution(measured)
    known = Quantities(
        parameters=counts.parameters.total,
        flops=epoch_flops(counts, measured.samples),
        peak=machine.peak,
        roofline=roofline_seconds(counts, measured.samples, machine),
        busy=split.busy,
        wall=measured.epoch_seconds.median,
    )
    case = Case(counts, measured, machine, split, where(measured, counts, machine))
    explanation = ModelExplanation(
        name=measured.name,
        counts=counts,
        epoch_seconds=measured.epoch_seconds,
        first_epoch_seconds=measured.first_epoch_seconds,
        arithmetic_seconds=arithmetic_seconds(counts, measured.samples, machine),
        roofline_seconds=known.roofline,
        busy_seconds=known.busy,
        factors=factors_of(known),
        where=case.parts,
        causes=causes_of(case),
        first_epoch_causes=first_epoch(case),
        measurement=measured,
    )
    return explanation, known


def causes_of(case: Case) -> tuple[Cause, ...]:
    """Why the epoch takes its seconds, most first; the seconds add up to the epoch."""
    accounts = _base(case)
    found: list[Cause] = []
    for rule in RULES:
        finding = rule(case, accounts)
        if finding is not None:
            found.append(accounts.settle(finding))
    found += [describe(case, name, seconds, accounts.places(name)) for name, seconds in accounts.totals().items()]
    return tuple(sorted((cause for cause in found if cause.seconds), key=lambda cause: -cause.seconds))


def _base(case: Case) -> Accounts:
    """The seconds of the epoch by the time identity, with the layers that they belong to."""
    accounts = Accounts()
    for row, phase, _, arithmetic, roofline in case.work():
        accounts.add(ARITHMETIC, row, phase, arithmetic)
        accounts.add(MEMORY, row, phase, roofline - arithmetic)
        accounts.add(KERNELS, case.place_of_work(row, phase), phase, -roofline)
    split = case.split
    for name, seconds in (*split.waits.items(), *split.turn.items()):
        accounts.add(name, name, None, seconds)
    if split.busy is None or split.dispatch is None:
        accounts.add(KERNELS_OR_OVERHEAD, None, None, split.rest + accounts.total(KERNELS))
        accounts.drop(KERNELS)
        return accounts
    for part in case.parts:
        if part.phase is not None or part.name == UNATTRIBUTED:
            accounts.add(KERNELS if part.phase is not None else UNATTRIBUTED, part.name, part.phase, part.seconds)
    for place, seconds in case.dispatch_by_layer().items():
        accounts.add(OVERHEAD, *place, seconds)
    for kernel in case.kernels:  # what computes nothing is no slow arithmetic
        takes = MEMORY if only_moves(kernel) else OVERHEAD if calls_python(kernel) else None
        if takes is not None and kernel.layer is not None:
            beyond = max(0.0, accounts.at(KERNELS, (kernel.layer, kernel.phase)))
            seconds = min(case.kernel_seconds(kernel), beyond)
            accounts.add(KERNELS, kernel.layer, kernel.phase, -seconds)
            accounts.add(takes, kernel.layer, kernel.phase, seconds)
    return accounts
