"""The record of the experiments: findings with their intervals, and the series that pictures are drawn from.

A report draws this and nothing else, so whatever a picture or a table shows is in here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from epochwise.records import Record

if TYPE_CHECKING:
    from epochwise.experiments.statistics import Interval

SCHEMA = "epochwise/evidence/1"

Verdict: TypeAlias = Literal["supported", "refuted", "undecided", "not measured"]
"""``undecided``: the interval allows both. ``not measured``: left out, or the control of the harness did not pass."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One claim, what was measured about it, and what follows.

    Attributes:
        id: such as ``P6`` or ``P6.pooled``.
        claim: a sentence that can be true or false.
        falsified_if: which outcome speaks against it, written before anything was trained.
        verdict: of the claim.
        estimate: the figure that decides; ``null`` where there is none.
        low: lower end of its 95 % interval.
        high: upper end.
        unit: of these three, such as ``accuracy points`` or ``ratio of seconds``.
        seeds: how many independent seeds the interval stands on.
        trials: how many training runs.
        sentence: the outcome in words, with the figure.
    """

    id: str
    claim: str
    falsified_if: str
    verdict: Verdict
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    seeds: int = 0
    trials: int = 0
    sentence: str = ""


class Check(msgspec.Struct, frozen=True):
    """Something that must hold exactly, or the harness is not to be trusted.

    Attributes:
        name: what must hold.
        passed: whether it did.
        detail: what was found, with its figure.
    """

    name: str
    passed: bool
    detail: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One series of a chart.

    Attributes:
        name: of the arm.
        x: positions.
        y: means over the seeds.
        low: lower ends of their intervals; empty where there are none.
        high: upper ends.
        labels: names of single points; empty where they have none.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Series over a common axis.

    Attributes:
        id: within the experiment, such as ``learning-curves``.
        kind: lines with bands, or single points.
        title: what is seen.
        x: label of the axis, with its unit.
        y: label of the axis, with its unit.
        logarithmic: the axes that are drawn so: ``""``, ``x``, ``y`` or ``xy``.
        lines: the series.
    """

    id: str
    kind: Literal["curves", "points"]
    title: str
    x: str
    y: str
    logarithmic: str = ""
    lines: tuple[Line, ...]


class PositionMap(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy by position of the object.

    Attributes:
        arm: the model.
        trained_at: offset ``(down, right)`` in pixels at which it was trained; ``null`` for all.
        offsets: the offsets down and right, in pixels (both axes alike).
        accuracy: ``[down][right]``, mean over the seeds, from 0 to 1.
    """

    arm: str
    trained_at: tuple[int, int] | None
    offsets: tuple[int, ...]
    accuracy: tuple[tuple[float, ...], ...]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Figures beside each other.

    Attributes:
        title: what is seen.
        columns: names, with units.
        rows: texts, as long as ``columns``.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Experiment(Finding, frozen=True, kw_only=True):
    """One protocol: its main finding, and all that belongs to it.

    Attributes:
        title: in a few words.
        further: other findings of the same trials.
        checks: what must hold exactly.
        charts: series to draw.
        maps: accuracy by position.
        tables: figures to print.
        notes: what a reader must know to trust the figures; what was left out, and why.
    """

    title: str
    further: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    charts: tuple[Chart, ...] = ()
    maps: tuple[PositionMap, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, main: Finding, **rest: Any) -> Experiment:
        """A protocol whose main finding is there already; ``rest`` holds the other fields, and may replace some of it."""
        return cls(**({name: getattr(main, name) for name in main.__struct_fields__} | rest))


class Answer(msgspec.Struct, frozen=True):
    """One line of the verdict table: something that is said of the two models, and what the experiments say.

    Attributes:
        claim: as it is said.
        verdict: of it.
        sentence: the answer, with its figure and interval.
        experiments: ids of the findings it stands on.
    """

    claim: str
    verdict: Verdict
    sentence: str
    experiments: tuple[str, ...]


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of the trials, trained by the engine and by Keras.

    Attributes:
        trials: how many were trained by both.
        largest_difference: of the accuracies, from 0 to 1.
        mean_difference: engine minus Keras.
        engine_seconds: what these took the engine.
        keras_seconds: what they took ``model.fit``.
    """

    trials: int
    largest_difference: float
    mean_difference: float
    engine_seconds: float
    keras_seconds: float


class Evidence(Record, frozen=True, kw_only=True):
    """What the extra time buys: all experiments that were run, and the verdicts.

    Attributes:
        schema: ``epochwise/evidence/1``.
        version: of epochwise.
        tier: ``smoke``, ``standard`` or ``full``.
        models: the two models as they were named.
        data: name and origin.
        backend: of Keras, whose conventions the engine follows.
        machine: the processor, and how many cores were used.
        trainings: how many trials there are in all.
        training_seconds: what these took, added up over all workers.
        seconds: from the first to the last thing done by the run that wrote this, with what was kept from before left out.
        verdicts: the question's claims and their answers.
        experiments: in the order P0 to P10.
        agreement: of engine and Keras; ``null`` where none was trained by both.
        notes: what a reader must know to trust the figures.
    """

    schema: str = SCHEMA
    version: str
    tier: str
    models: tuple[str, ...]
    data: str
    backend: str
    machine: str
    trainings: int
    training_seconds: float
    seconds: float
    verdicts: tuple[Answer, ...]
    experiments: tuple[Experiment, ...]
    agreement: Agreement | None = None
    notes: tuple[str, ...] = ()


def band(name: str, x: Iterable[float], intervals: Iterable[Interval], within: tuple[float, float] | None = None) -> Line:
    """A line of estimates with their intervals, which are cut off where no figure can be (an accuracy is from 0 to 1)."""
    seen = tuple(intervals)
    least, most = within or (-math.inf, math.inf)
    return Line(
        name=name,
        x=tuple(x),
        y=tuple(each.estimate for each in seen),
        low=tuple(max(least, each.low) for each in seen),
        high=tuple(min(most, each.high) for each in seen),
    )


def recorded(experiment: Experiment) -> Experiment:
    """An outcome as a record holds it, since JSON has plain finite numbers only.

    Figures and ends of intervals that are infinite or not a number become ``None``. Points of a chart at such places are left
    out, and a band with such an end is left out of its line.
    """
    charts = tuple(replace(chart, lines=tuple(_drawable(line) for line in chart.lines)) for chart in experiment.charts)
    return replace(_bounded(experiment), further=tuple(_bounded(each) for each in experiment.further), charts=charts)


_Kind = TypeVar("_Kind", bound=Finding)


def _bounded(finding: _Kind) -> _Kind:
    ends = {name: getattr(finding, name) for name in ("estimate", "low", "high")}
    return replace(finding, **{name: float(end) if _is_finite(end) else None for name, end in ends.items()})


def _drawable(line: Line) -> Line:
    there = [place for place, point in enumerate(zip(line.x, line.y, strict=True)) if all(map(_is_finite, point))]
    columns = {name: getattr(line, name) for name in ("x", "y", "low", "high")}
    kept = {name: tuple(float(column[place]) for place in there) for name, column in columns.items() if column}
    if not all(_is_finite(end) for name in ("low", "high") for end in kept.get(name, ())):
        kept |= {"low": (), "high": ()}
    return replace(line, **kept, labels=tuple(line.labels[place] for place in there) if line.labels else ())


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
