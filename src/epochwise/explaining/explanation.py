"""The records of an explanation: factors, places, causes, sentences.

All seconds are seconds per epoch unless a name says otherwise.
"""

from __future__ import annotations

import msgspec

from epochwise.counting.counts import Counts
from epochwise.machines.machine import Machine
from epochwise.measuring.measurement import Interval, Measurement, ModelMeasurement
from epochwise.records import Record


class Factors(msgspec.Struct, frozen=True, kw_only=True):
    """The time identity of one model; the product of what is known is its epoch time.

    Attributes:
        parameters: how many weights there are.
        reuse: FLOPs of an epoch over parameters.
        machine: seconds per FLOP at this machine's peak.
        memory: roofline over arithmetic, at least 1.
        kernels: busy over roofline.
        waiting: wall over busy, at least 1.
        merged: products of neighbours that could not be told apart, by their names joined with `` x ``; each of them is then
            ``None`` above.
    """

    parameters: float | None
    reuse: float | None
    machine: float | None
    memory: float | None
    kernels: float | None
    waiting: float | None
    merged: dict[str, float] = msgspec.field(default_factory=dict)


class Part(msgspec.Struct, frozen=True):
    """Where some of the epoch goes.

    Attributes:
        name: a layer, ``(loss)``, ``(metrics)``, ``(optimizer)``, ``dispatch and Python``, ``input pipeline``,
            ``callback <class>``, ``validation``, ``turn between epochs`` or ``unattributed``.
        phase: ``forward``, ``backward``, ``update``, or ``None`` where that has no meaning.
        seconds: of an epoch.
        share: of the epoch.
        roofline_seconds: the least that this layer and phase can take on this machine; ``None`` where nothing was counted.
        flops_per_second: achieved, 2 FLOPs for each MAC; ``None`` where there are no MACs.
        bytes_per_second: achieved, of the bytes at the layer's borders; ``None`` where there are none.
        low: the least over the rounds of profiling; ``None`` where it was not profiled.
        high: the most.
    """

    name: str
    phase: str | None
    seconds: float
    share: float
    roofline_seconds: float | None = None
    flops_per_second: float | None = None
    bytes_per_second: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def times_roofline(self) -> float | None:
        """How far from the best that this machine can do; ``None`` where that is not known."""
        return self.seconds / self.roofline_seconds if self.roofline_seconds else None


class PlaceSeconds(msgspec.Struct, frozen=True):
    """Seconds of an epoch that a cause takes in one place.

    Attributes:
        name: of a layer, a callback, or a part of the step.
        phase: of a layer; ``None`` otherwise.
        seconds: of an epoch.
    """

    name: str
    phase: str | None
    seconds: float


class Cause(msgspec.Struct, frozen=True):
    """Why an epoch takes some of its time.

    Attributes:
        name: ``arithmetic``, ``memory traffic``, ``kernel path``, ``per-step overhead``, ``number of steps``,
            ``optimizer sweep``, ``lowering``, ``input pipeline``, ``callbacks and validation``, ``threads``, ``denormals``,
            ``device transfer``, ``turn between epochs``, ``unattributed``; ``kernel path or per-step overhead`` where no
            profile could be made; ``compilation`` among those of the first epoch.
        seconds: of an epoch; the causes of a model add up to its epoch.
        evidence: what was measured, in a sentence.
        sure: ``high``: timed directly, or by taking the cause away; ``medium``: from the profile or a roofline; ``low``: what
            is left when everything else is known.
        rule: how it was found, in a sentence.
        remedy: what would remove it, in a sentence; empty where nothing is known that would.
        left_seconds: epoch that would be left without it; ``None`` where nothing is known that would remove it.
        places: where it takes its seconds, most first; empty where that has no meaning.
    """

    name: str
    seconds: float
    evidence: str
    sure: str = "medium"
    rule: str = ""
    remedy: str = ""
    left_seconds: float | None = None
    places: tuple[PlaceSeconds, ...] = ()

    @property
    def place(self) -> str | None:
        """The one place that has most of it, ``None`` where no place has half."""
        by_name: dict[str, float] = {}
        for place in self.places:
            by_name[place.name] = by_name.get(place.name, 0.0) + place.seconds
        most = max(by_name, key=lambda name: by_name[name], default=None)
        return most if most is not None and by_name[most] >= self.seconds / 2 else None


class WhatIf(msgspec.Struct, frozen=True):
    """What an epoch would take if one thing were otherwise.

    Attributes:
        name: ``no waiting``, ``kernels at the roofline``, or ``a batch of 256``.
        epoch_seconds: predicted; low and high if the profiler's cost fell wholly inside, or wholly outside the kernels; for
            another batch the 95 % interval of its step.
        assumption: what is taken to be otherwise, and what to stay.
    """

    name: str
    epoch_seconds: Interval
    assumption: str


class ModelExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """One model: where its epoch goes, and why.

    Attributes:
        name: of the model.
        counts: of its training step.
        epoch_seconds: undisturbed, in steady state.
        first_epoch_seconds: with tracing and compilation.
        arithmetic_seconds: the least that its MACs can take at this machine's peak.
        roofline_seconds: the least that its layers can take, their bytes considered.
        busy_seconds: time in which at least one kernel runs; low and high if the profiler's cost fell wholly inside, or wholly
            outside the kernels; ``None`` if no profile could be made.
        factors: of the time identity.
        where: parts whose sum is the epoch, longest first.
        causes: whose sum is the epoch, longest first.
        first_epoch_causes: why the first epoch takes longer than a later one, longest first.
        measurement: what this rests on.
    """

    name: str
    counts: Counts
    epoch_seconds: Interval
    first_epoch_seconds: float
    arithmetic_seconds: float
    roofline_seconds: float
    busy_seconds: Interval | None
    factors: Factors
    where: tuple[Part, ...]
    causes: tuple[Cause, ...]
    first_epoch_causes: tuple[Cause, ...] = ()
    measurement: ModelMeasurement


class FactorRatio(msgspec.Struct, frozen=True):
    """One factor of the ratio of two epoch times.

    Attributes:
        name: ``parameters``, ``reuse``, ``memory``, ``kernels``, ``waiting``, or several joined with `` x `` where they could
            not be told apart.
        ratio: second model's over first's; ``None`` where unknown, and then part of a joined one.
        low: the least it can be if the profiler's cost fell otherwise; ``None`` where the profile does not enter.
        high: the most.
    """

    name: str
    ratio: float | None
    low: float | None = None
    high: float | None = None


class PartDifference(msgspec.Struct, frozen=True):
    """What a part adds to the difference of two epochs.

    Attributes:
        name: as in :class:`Part`.
        phase: as in :class:`Part`.
        first: seconds of the first model's epoch; ``None`` where that has no such part.
        second: of the second's.
        seconds: second minus first.
    """

    name: str
    phase: str | None
    first: float | None
    second: float | None
    seconds: float


class CauseDifference(msgspec.Struct, frozen=True):
    """What a cause adds to the difference of two epochs.

    Attributes:
        name: as in :class:`Cause`.
        seconds: second model's minus first's; these add up to the difference.
        share: of the difference; negative for a cause that works against it.
        evidence: what was measured of the model that has more of it.
        sure: as in :class:`Cause`.
        remedy: what would remove it there; empty where nothing is known that would.
        left_seconds: that model's epoch without it.
        places: where it makes the difference, most first.
    """

    name: str
    seconds: float
    share: float
    evidence: str
    sure: str
    remedy: str
    left_seconds: float | None
    places: tuple[PlaceSeconds, ...] = ()


class Comparison(Record, frozen=True, kw_only=True):
    """Why an epoch of the second model takes so many times as long as one of the first.

    Attributes:
        schema: ``epochwise/compare/1``.
        backend: of both models; two joined with `` / `` where they differ.
        models: first and second.
        ratio: second's epoch time over first's.
        factors: whose product is the ratio's median.
        differences: what each part adds to the difference of the epochs, largest first.
        causes: what each cause adds to it, largest first.
        machine: what the roofline rests on.
        measurement: how it was measured.
        answer: in sentences.
        notes: what a reader must know to trust the figures.
    """

    schema: str = "epochwise/compare/1"
    backend: str
    models: tuple[ModelExplanation, ModelExplanation]
    ratio: Interval
    factors: tuple[FactorRatio, ...]
    differences: tuple[PartDifference, ...] = ()
    causes: tuple[CauseDifference, ...] = ()
    machine: Machine
    measurement: MeasurementSummary
    answer: str
    notes: tuple[str, ...] = ()


class Explanation(Record, frozen=True, kw_only=True):
    """Where an epoch of one model goes, why, and what it could be.

    Attributes:
        schema: ``epochwise/explain/1``.
        backend: of the model.
        model: parts, causes, factors.
        what_ifs: predicted epochs, shortest first; empty where no profile could be made.
        machine: what the roofline rests on.
        measurement: how it was measured.
        answer: in sentences.
        notes: what a reader must know to trust the figures.
    """

    schema: str = "epochwise/explain/1"
    backend: str
    model: ModelExplanation
    what_ifs: tuple[WhatIf, ...]
    machine: Machine
    measurement: MeasurementSummary
    answer: str
    notes: tuple[str, ...] = ()


class MeasurementSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A :class:`~epochwise.measuring.measurement.Measurement` without its models, which stand with their explanations."""

    data: str
    pairs: int
    budget_seconds: float
    measuring_seconds: float
    other_load_cores: float | None
    interrupted: bool


class QuestionAnswer(msgspec.Struct, frozen=True):
    """The three parts of the question, a paragraph each."""

    why_slower: str
    benefit: str
    parameters: str


class Demo(Record, frozen=True, kw_only=True):
    """The question, answered on this machine.

    Attributes:
        schema: ``epochwise/demo/1``.
        comparisons: one for each backend that could be run.
        left_out: backends that could not be run, with the reason.
        answer: to the three parts of the question.
    """

    schema: str = "epochwise/demo/1"
    comparisons: tuple[Comparison, ...]
    left_out: dict[str, str] = msgspec.field(default_factory=dict)
    answer: QuestionAnswer


def summary(measurement: Measurement) -> MeasurementSummary:
    """The measurement without its models."""
    return MeasurementSummary(
        data=measurement.data,
        pairs=measurement.pairs,
        budget_seconds=measurement.budget_seconds,
        measuring_seconds=measurement.measuring_seconds,
        other_load_cores=measurement.other_load_cores,
        interrupted=measurement.interrupted,
    )
