"""Where the epochs go, prepared for pages: parts and causes as lengths of bars, with texts and colours."""

from __future__ import annotations

from typing import NamedTuple

from epochwise.explaining.explanation import Cause, Comparison, ModelExplanation, Part
from epochwise.reporting.contents import (
    REST,
    CauseRow,
    achieved,
    cause_rows,
    common_unit,
    difference_rows,
    evidence,
    largest,
    quiet,
)
from epochwise.reporting.figures import NOTHING, Unit, share_text

MOST_PARTS = 14
LEAST_LABELLED = 0.09
"""Of the width of a bar: what is narrower has its name in the table only."""
LAYER_COLOURS = 8
CAUSE_COLOURS = {
    "arithmetic": "cause-arithmetic",
    "memory traffic": "cause-memory",
    "kernel path": "cause-kernels",
    "optimizer sweep": "part-2",
    "lowering": "part-0",
    "threads": "part-5",
    "denormals": "part-6",
    "number of steps": "part-7",
    "device transfer": "part-4",
    "per-step overhead": "cause-overhead",
    "kernel path or per-step overhead": "cause-kernels",
    "input pipeline": "part-input",
    "callbacks and validation": "part-callback",
    "turn between epochs": "cause-turn",
    "unattributed": "part-unattributed",
}


class Segment(NamedTuple):
    """A part of a bar: its length as a share of the bar's width, and what a pointer over it is told."""

    name: str
    colour: str
    width: float
    text: str

    @property
    def labelled(self) -> bool:
        """Whether it is long enough to hold its name."""
        return self.width >= LEAST_LABELLED


class PartRow(NamedTuple):
    """A row of the table of where an epoch goes; ``achieved`` is GFLOP/s, GB/s and times the best possible."""

    name: str
    phase: str
    colour: str
    seconds: str
    share: float
    achieved: tuple[str, str, str]


class Explained(NamedTuple):
    """One model: where its epoch goes, and the evidence for its causes."""

    model: ModelExplanation
    unit: Unit
    epoch: str
    bar: list[Segment]
    rows: list[PartRow]
    evidence: list[tuple[Cause, str]]


class CauseView(NamedTuple):
    """A row of the table of causes."""

    row: CauseRow
    colour: str
    first: str
    second: str
    difference: str


class DifferenceView(NamedTuple):
    """A row of the table of what makes the difference; seconds as texts."""

    name: str
    phase: str
    first: str
    second: str
    difference: str


class Sections(NamedTuple):
    """The causes of both models: bars on one scale of seconds, and the table."""

    unit: Unit
    bars: list[tuple[str, str, list[Segment]]]
    rows: list[CauseView]
    totals: tuple[str, str, str]


def explained(model: ModelExplanation, unit: Unit) -> Explained:
    """One model's parts as a bar of 100 per cent, and as rows; seconds in this unit."""
    colours = _colours(model.where)
    rows, bar = [], []
    for part in largest(model.where, MOST_PARTS):
        seconds = unit.named(part.seconds)
        colour = colours.get(part.name, "part-rest")
        rows.append(PartRow(part.name, part.phase or "", colour, unit.text(part.seconds), part.share, achieved(part)))
        label = f"{part.name} {part.phase}" if part.phase else part.name
        bar.append(Segment(label, colour, max(0.0, part.share), f"{label}: {seconds}, {share_text(part.share)}"))
    return Explained(model, unit, unit.text(model.epoch_seconds.median), bar, rows, evidence(model, 0.0))


def differences(comparison: Comparison) -> list[DifferenceView]:
    """The parts that make the difference of the epochs, largest first."""
    unit = common_unit(comparison)
    return [
        DifferenceView(
            part.name,
            part.phase or "",
            NOTHING if part.first is None else unit.text(part.first),
            NOTHING if part.second is None else unit.text(part.second),
            unit.text(part.seconds, sign=True),
        )
        for part in difference_rows(comparison, MOST_PARTS)
    ]


def _colours(parts: tuple[Part, ...]) -> dict[str, str]:
    """A colour for each layer by its rank; the quiet parts have their own."""
    layers = list(dict.fromkeys(part.name for part in parts if not quiet(part) and REST not in part.name))
    found = {name: f"part-{place % LAYER_COLOURS}" for place, name in enumerate(layers)}
    return found | {part.name: f"part-{part.name.split(maxsplit=1)[0]}" for part in parts if quiet(part)}


def cause_segment(name: str, seconds: float, epoch: float, longest: float, unit: Unit) -> Segment:
    """A cause as a part of a bar on a scale of ``longest`` seconds; a negative one has no length."""
    text = f"{name}: {unit.named(seconds)}, {share_text(seconds / epoch)}"
    return Segment(name, CAUSE_COLOURS.get(name, "part-rest"), max(0.0, seconds) / longest, text)


def sections(comparison: Comparison) -> Sections:
    """Causes in seconds. A negative one (kernels better than the best possible, so a wrong roofline) has no length."""
    unit = common_unit(comparison)
    epochs = [model.epoch_seconds.median for model in comparison.models]
    longest = max(*epochs, *(sum(max(0.0, cause.seconds) for cause in model.causes) for model in comparison.models))
    bars = []
    for model, epoch in zip(comparison.models, epochs, strict=True):
        seconds = {cause.name: cause.seconds for cause in model.causes}
        bar = [
            cause_segment(row.name, seconds[row.name], epoch, longest, unit)
            for row in cause_rows(comparison)
            if row.name in seconds
        ]
        bars.append((model.name, unit.named(epoch), bar))
    rows = [
        CauseView(
            row,
            CAUSE_COLOURS.get(row.name, "part-rest"),
            NOTHING if row.first is None else unit.text(row.first),
            NOTHING if row.second is None else unit.text(row.second),
            unit.text(row.difference, sign=True),
        )
        for row in cause_rows(comparison)
    ]
    totals = (unit.text(epochs[0]), unit.text(epochs[1]), unit.text(epochs[1] - epochs[0], sign=True))
    return Sections(unit, bars, rows, totals)
