"""Draws an :class:`~epochwise.experiments.record.Evidence` for the terminal: the verdicts first, then each experiment.

Curves are drawn on the page only; of a position map the terminal has a coarse one, so that the shape is seen at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from rich.console import Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from epochwise.experiments.kept import Kept
from epochwise.experiments.record import Agreement, Check, Evidence, Experiment, Finding, Table, Verdict
from epochwise.explaining.wording import FRAMEWORKS
from epochwise.reporting.evidence_maps import drawn_maps
from epochwise.reporting.figures import digits, shortened, unit_for
from epochwise.reporting.terminal import FASTER, QUIET, SLOWER, Sized, blocks, hanging, heading, notes, pairs, plain_table

HOW_TO_RUN = (
    "epochwise evidence --tier smoke trains all of it here, in minutes; with --tier standard --plan it says how long the whole"
    " would take."
)
CONTROL = "P0"
"""The experiment that says whether the others may be believed."""
SIGNS: dict[Verdict, str] = {"supported": "✓", "refuted": "✗", "undecided": "?", "not measured": "–"}
STYLES: dict[Verdict, str] = {"supported": FASTER, "refuted": SLOWER, "undecided": "bold", "not measured": QUIET}
PASSED, FAILED = "✓", "✗"
VERDICT_COLUMNS, SIGN_COLUMNS = 18, 4
MOST_PLACES = 4
NAME_COLUMNS = 30
GAP = 2
WHOLE = re.compile(r"\[[^]]*\]|\S+")
"""Of a cell: what is not broken."""


class ClaimRow(NamedTuple):
    """One claim as it is shown: its verdict, the outcome in words, the lines below it, and what stands at the right."""

    verdict: Verdict
    claim: str
    sentence: str
    below: tuple[str, ...]
    by: str


def render(record: Evidence) -> RenderableType:
    """The whole record, for 80 columns and more."""
    return blocks(
        Group(heading(title(record)), pairs(setting(record))),
        verdict_table(record),
        *(_experiment(experiment) for experiment in record.experiments),
        None if record.agreement is None else Group(heading("Engine and Keras"), hanging(agreement_text(record.agreement))),
        notes(record.notes),
    )


def kept_view(found: Kept | None) -> RenderableType:
    """The verdicts that ship with the package, and how to get one's own; without them only the latter."""
    table = None if found is None else Group(hanging(source_text(found)), verdict_table(found.record))
    return blocks(Group(heading("What the extra time buys"), *([] if table is None else [table])), hanging(HOW_TO_RUN))


def source_text(found: Kept) -> str:
    """When, where and on what the record was made that ships with the package."""
    record = found.record
    trained = counted(record.trainings, "training", "trainings")
    return f"Measured on {found.day}, {record.machine}: tier {record.tier}, {trained} on {record.data}. Not measured now."


def title(record: Evidence) -> str:
    """What the record is about, in one line."""
    return f"What the extra time buys: {' against '.join(shortened(name, NAME_COLUMNS) for name in record.models)}"


def setting(record: Evidence) -> list[tuple[str, str]]:
    """On what, with what and how much was trained."""
    trained = f"{counted(record.trainings, 'training', 'trainings')}, {duration(record.training_seconds)} of training"
    return [
        ("data", record.data),
        ("tier", record.tier),
        ("backend", f"conventions of {FRAMEWORKS.get(record.backend, record.backend)}"),
        ("machine", record.machine),
        ("trained", f"{trained}; the run took {duration(record.seconds)}"),
    ]


def verdict_table(record: Evidence) -> RenderableType:
    """What is said of the two models, and what the experiments say."""
    rows = [
        ClaimRow(answer.verdict, answer.claim, answer.sentence, (), ", ".join(answer.experiments)) for answer in record.verdicts
    ]
    detail = "" if trusted(record) else "the control did not pass, so none can be given"
    return Group(heading("Verdicts", detail), _claims(rows) if rows else hanging("No experiment speaks to the claims."))


def trusted(record: Evidence) -> bool:
    """Whether the control passed, or was not among the experiments."""
    return all(
        experiment.verdict in ("supported", "not measured") and all(check.passed for check in experiment.checks)
        for experiment in record.experiments
        if experiment.id == CONTROL
    )


def claim_rows(experiment: Experiment) -> list[ClaimRow]:
    """The main finding, then the further ones."""
    return [
        ClaimRow(
            found.verdict,
            found.claim,
            found.sentence,
            tuple(filter(None, (measured_text(found), f"Refuted if: {found.falsified_if}" if found.falsified_if else ""))),
            "" if found is experiment else found.id,
        )
        for found in (experiment, *experiment.further)
    ]


def measured_text(found: Finding) -> str:
    """The figure that decides with its interval, and what it stands on; empty where nothing was measured."""
    parts = []
    if found.estimate is not None:
        figure, interval = figure_texts(found)
        parts.append(", ".join(filter(None, (figure + (f" (95 % interval {interval})" if interval else ""), found.unit))))
    stands_on = [
        counted(found.seeds, "seed", "seeds") if found.seeds else "",
        counted(found.trials, "training", "trainings") if found.trials else "",
    ]
    parts += [", ".join(filter(None, stands_on))] if any(stands_on) else []
    return "; ".join(parts)


def figure_texts(found: Finding) -> tuple[str, str]:
    """The estimate and its interval, with as many places as the interval allows; empty texts for what is not known."""
    known = [value for value in (found.estimate, found.low, found.high) if value is not None and math.isfinite(value)]
    places = _places(known)

    def text(value: float | None) -> str:
        if value is None or not math.isfinite(value):
            return "unknown"
        return digits(value) if places is None else f"{value:,.{places}f}"

    interval = "" if found.low is None and found.high is None else f"{text(found.low)} to {text(found.high)}"
    return ("" if found.estimate is None else text(found.estimate)), interval


def _places(known: Sequence[float]) -> int | None:
    """Places that show half the width of an interval in two digits; ``None`` where there is no width."""
    half = (max(known, default=0.0) - min(known, default=0.0)) / 2
    return min(MOST_PLACES, max(0, 1 - math.floor(math.log10(half)))) if half else None


def agreement_text(found: Agreement) -> str:
    """How far the engine and Keras agree, and what each took."""
    ratio = found.keras_seconds / found.engine_seconds if found.engine_seconds > 0 else None
    times = "" if ratio is None else f", {digits(ratio)} times as long"
    return (
        f"{counted(found.trials, 'training was', 'trainings were')} repeated with model.fit: test accuracies differ by"
        f" {100 * found.largest_difference:.2f} points at most, by {100 * found.mean_difference:+.2f} on average (engine minus"
        f" Keras). The engine took {duration(found.engine_seconds)}, Keras {duration(found.keras_seconds)}{times}."
    )


def counted(count: int, one: str, several: str) -> str:
    """``1 training``, ``2,345 trainings``."""
    return f"{count:,} {one if count == 1 else several}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them, roughly."""
    unit = unit_for(seconds)
    shown = seconds / unit.seconds
    return f"{shown:,.0f} {unit.name}" if shown >= 10 else f"{shown:.1f} {unit.name}"  # noqa: PLR2004 - a matter of digits


def _experiment(experiment: Experiment) -> RenderableType:
    """Findings, checks, maps, tables, notes; which charts the page has."""
    parts: list[RenderableType] = [heading(f"{experiment.id}  {experiment.title}"), _claims(claim_rows(experiment))]
    if experiment.checks:
        parts.append(_checks(experiment.checks))
    if experiment.maps:
        parts.append(Sized(lambda width: Padding(drawn_maps(experiment.maps, width - 2), (1, 0, 0, 2))))
    parts += [Sized(partial(_padded_table, table)) for table in experiment.tables]
    if experiment.charts:
        charts = "; ".join(chart.title for chart in experiment.charts)
        parts.append(Padding(Text(f"Drawn on the page (--report FILE.html): {charts}.", QUIET), (1, 0, 0, 2)))
    if experiment.notes:
        parts += [Text(""), *(hanging(note) for note in experiment.notes)]
    return Group(*parts)


def _claims(rows: Iterable[ClaimRow]) -> Grid:
    """Verdicts at the left, claims with their outcome beside them."""
    grid = _beside(VERDICT_COLUMNS)
    for row in rows:
        first = [Text.assemble((row.claim, "bold"), (f"  {row.by}" if row.by else "", QUIET))] if row.claim else []
        lines = [*first, *([Text(row.sentence)] if row.sentence else []), *(Text(line, QUIET) for line in row.below)]
        text = Text("\n").join(lines)
        grid.add_row(Text(f"  {SIGNS[row.verdict]} {row.verdict}", STYLES[row.verdict]), text)
    return grid


def _checks(checks: Iterable[Check]) -> Grid:
    """What must hold, and what was found."""
    grid = _beside(SIGN_COLUMNS)
    for check in checks:
        sign = Text(f"  {PASSED}", FASTER) if check.passed else Text(f"  {FAILED}", SLOWER)
        text = Text.assemble(check.name, "" if check.passed else (" does not hold", "bold"))
        grid.add_row(sign, text.append(f": {check.detail}" if check.detail else ""))
    return grid


def _beside(columns: int) -> Grid:
    """A narrow column, and a wide one for sentences."""
    grid = Grid.grid(expand=True)
    grid.add_column(width=columns, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    return grid


def _padded_table(table: Table, width: int) -> RenderableType:
    return Padding(_table(table, width - 2), (1, 0, 0, 2))


def _table(table: Table, width: int) -> RenderableType:
    """Figures beside each other. Where it is narrow, intervals go below their figures, and further columns below the first."""
    columns: list[Sequence[str]] = list(zip(table.columns, *table.rows, strict=True))
    if sum(max(map(len, column)) for column in columns) + GAP * (len(columns) - 1) > width:
        columns = [tuple(cell.replace(" [", "\n[") for cell in column) for column in columns]
    parts: list[RenderableType] = [Text(table.title, "bold")]
    first, rest = columns[:1], columns[1:]
    while True:
        taken = max(1, next((count for count in range(len(rest), 0, -1) if _room(first + rest[:count], width) >= 0), 1))
        parts.append(_part(first + rest[:taken], width))
        rest = rest[taken:]
        if not rest:
            return Group(*parts)


def _part(columns: Sequence[Sequence[str]], width: int) -> Grid:
    """Columns that have room side by side; the first says what their figures are of."""
    grid = plain_table(gap=GAP)
    for place, (column, own) in enumerate(zip(columns, _widths(columns, width), strict=True)):
        justify: JustifyMethod = "right" if place else "left"
        grid.add_column(Text(column[0]), justify=justify, overflow="fold", width=own)
    for row in zip(*(column[1:] for column in columns), strict=True):
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def _least(columns: Sequence[Sequence[str]]) -> list[int]:
    """Widths in which no word and no interval is broken."""
    return [max(len(piece) for cell in column for piece in (*WHOLE.findall(cell), "")) for column in columns]


def _room(columns: Sequence[Sequence[str]], width: int) -> int:
    """What is left beside the least widths; negative where they do not fit."""
    return width - GAP * (len(columns) - 1) - sum(_least(columns))


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int | None]:
    """The least widths, and what is left shared out; ``None`` where there is not even room for these."""
    found, left = _least(columns), _room(columns, width)
    wanted = [max(len(line) for cell in column for line in (*cell.splitlines(), "")) for column in columns]
    if left < 0:
        return [None] * len(columns)
    while left > 0 and found != wanted:
        for place in range(len(columns)):
            if left and found[place] < wanted[place]:
                found[place] += 1
                left -= 1
    return list(found)
