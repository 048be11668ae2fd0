"""Draws a :class:`~epochwise.explaining.explanation.Comparison` for the terminal.

In this order: what was compared; figures of both models; the factors of the ratio; where the epochs go; the causes in seconds;
what the profiler cost; the answer in sentences; notes.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from epochwise.explaining.explanation import Comparison, ModelExplanation
from epochwise.reporting.contents import (
    JOINED,
    CauseRow,
    FactorRow,
    cause_rows,
    common_unit,
    difference_rows,
    evidence,
    factor_rows,
    facts,
    headline,
    largest,
    profiler,
    quiet,
    setting,
    units_of,
)
from epochwise.reporting.figures import NOTHING, UNKNOWN, Unit, factor_text, interval_text, ratio_text, share_text, shortened
from epochwise.reporting.machine import bar
from epochwise.reporting.terminal import FASTER, SLOWER, Sized, around_one, blocks, heading, notes, pairs, plain_table, sides

MOST_PARTS = 8
MOST_DIFFERENCES = 8
MOST_NAME_COLUMNS = 22
SHARE_COLUMNS, BAR_COLUMNS = 7, 5
BESIDE = SHARE_COLUMNS + BAR_COLUMNS + 3
"""Columns of share, bar and gaps, beside a label and its seconds."""
LEAST_EVIDENCE = 0.05
PHASES = {"forward": "fwd", "backward": "bwd", "update": "upd"}
DIM = "dim"


def render(comparison: Comparison) -> RenderableType:
    """The whole comparison, for 80 columns and more."""
    return blocks(
        Group(heading(headline(comparison)), pairs(setting(comparison))),
        _facts(comparison),
        Sized(lambda width: _factors(comparison, width)),
        Sized(lambda width: _where(comparison, width)),
        Sized(lambda width: _difference(comparison, width)) if comparison.differences else None,
        _causes(comparison),
        evidence_of(comparison.models),
        notes([profiler(model) for model in comparison.models], "What the profiler cost (it is in no time above)"),
        Group(heading("Answer"), Text(comparison.answer)),
        notes(comparison.notes),
    )


def names(comparison: Comparison, columns: int = MOST_NAME_COLUMNS) -> tuple[str, str]:
    """Both models' names, for the heads of columns."""
    first, second = comparison.models
    return shortened(first.name, columns), shortened(second.name, columns)


def _facts(comparison: Comparison) -> Table:
    one, two = names(comparison, 18)
    table = plain_table()
    table.add_column("")
    table.add_column(Text(one), justify="right", no_wrap=True)
    table.add_column(Text(two), justify="right", no_wrap=True)
    table.add_column(
        Text("second / first" if len(one + two) > MOST_NAME_COLUMNS - 4 else f"{two} / {one}"), justify="right", no_wrap=True
    )
    for row in facts(comparison):
        style = DIM if row.minor else ""
        table.add_row(Text(row.label), *(Text(value) for value in row.values), Text(row.ratio), style=style)
    return table


def _factors(comparison: Comparison, width: int) -> Group:
    """A chain of factors from 1 to the ratio: each with its bar, what it means, and how sure it is."""
    rows = factor_rows(comparison)
    name_columns = max(len("= the ratio"), *(len(part) for row in rows for part in _lines(row.name)))
    ratios = [row.ratio for row in rows if row.ratio] + [comparison.ratio.median]
    lowest, highest = min(1.0, *ratios), max(1.0, *ratios)
    columns = max(13, min(28, (width - name_columns) // 3 - 2))
    table = plain_table()
    table.add_column("factor", width=name_columns)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column(_axis_head(*sides(lowest, highest, columns)), width=columns, no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for number, row in enumerate(rows):
        shown = around_one(row.ratio, lowest, highest, columns) if row.ratio else Text(UNKNOWN, DIM)
        value = Text(factor_text(row.ratio) if row.ratio is not None else NOTHING)
        table.add_row(Text("\n".join(_lines(row.name))), value, shown, _meaning(row), style=DIM if row.ratio is None else "")
        if row.name == "reuse" and row.ratio is not None and number + 1 < len(rows):
            table.add_row("  so far", f"= {ratio_text(row.after)}", "", "times the arithmetic", style=DIM)
    product = comparison.ratio.median
    table.add_row(
        Text("= the ratio", "bold"),
        Text(f"= {ratio_text(product)}", "bold"),
        around_one(product, lowest, highest, columns),
        Text(f"measured; 95 % interval {interval_text(comparison.ratio.low, comparison.ratio.high)}", "bold"),
    )
    first, second = names(comparison)
    return Group(heading("Why: the ratio is the product of these factors", f"{second} over {first}"), table)


def _lines(name: str) -> list[str]:
    """A joined factor has a line for each name that it joins."""
    return name.replace(JOINED, f"{JOINED}\n").replace(" \n", "\n").split("\n")


def _meaning(row: FactorRow) -> Text:
    text = Text(row.meaning)
    if row.low is not None and row.high is not None:
        text.append(f" ({interval_text(row.low, row.high)})", style=DIM)
    return text


def _axis_head(left: int, right: int) -> Text:
    less, more = ("less" if left >= 4 else ""), ("more" if right >= 4 else "")  # noqa: PLR2004 - letters of these words
    return Text.assemble((less.rjust(left), FASTER), " ", (more.ljust(right), SLOWER))


def _where(comparison: Comparison, width: int) -> Group:
    """The largest parts of both epochs, side by side; under each other where the names of layers are long."""
    title = heading("Where an epoch goes", "fwd forward, bwd backward, upd weight update")
    half = (width - 2) // 2
    models, units = comparison.models, units_of(comparison)
    if all(_columns(model, unit) <= half for model, unit in zip(models, units, strict=True)):
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=half)
        grid.add_column(width=half)
        grid.add_row(*(_parts(model, unit, half) for model, unit in zip(models, units, strict=True)))
        return Group(title, grid)
    one, two = (_parts(model, unit, width) for model, unit in zip(models, units, strict=True))
    return Group(title, one, Text(""), two)


def _columns(model: ModelExplanation, unit: Unit) -> int:
    """Columns that the table of an epoch's parts takes with its labels whole."""
    parts = largest(model.where, MOST_PARTS)
    return max(len(label(part.name, part.phase)) for part in parts) + _number_columns(model, unit) + BESIDE


def _number_columns(model: ModelExplanation, unit: Unit) -> int:
    seconds = [part.seconds for part in largest(model.where, MOST_PARTS)]
    return max(len(unit.name), *(len(unit.text(value)) for value in (*seconds, model.epoch_seconds.median)))


def _parts(model: ModelExplanation, unit: Unit, width: int) -> Table:
    """The largest parts of one epoch, their sum below."""
    rows = largest(model.where, MOST_PARTS)
    numbers = _number_columns(model, unit)
    columns = min(_columns(model, unit), width) - numbers - BESIDE
    table = plain_table(gap=1)
    table.add_column(Text(shortened(model.name, columns)), width=columns, no_wrap=True)
    table.add_column(unit.name, justify="right", width=numbers, no_wrap=True)
    table.add_column("share", justify="right", width=SHARE_COLUMNS, no_wrap=True)
    table.add_column("", width=BAR_COLUMNS, no_wrap=True)
    for part in rows:
        style = DIM if quiet(part) else ""
        text = Text(label(part.name, part.phase, columns), style)
        table.add_row(text, unit.text(part.seconds), share_text(part.share), Text(bar(part.share, BAR_COLUMNS), style))
    epoch = model.epoch_seconds.median
    table.add_row(Text("epoch", "bold"), Text(unit.text(epoch), "bold"), Text(share_text(1.0), "bold"), "")
    return table


def label(name: str, phase: str | None, columns: int = 1000) -> str:
    """A part in so many columns: the phase is kept whole."""
    if phase is None:
        return shortened(name, columns)
    short = PHASES.get(phase, phase)
    return f"{shortened(name, columns - len(short) - 1)} {short}"


def _difference(comparison: Comparison, width: int) -> Group:
    """The parts that make the difference, largest first, adding up to it."""
    rows = difference_rows(comparison, MOST_DIFFERENCES)
    unit = common_unit(comparison)
    heads = names(comparison, 14)
    numbers = 3 * max(10, *(len(name) for name in heads)) + 6
    columns = max(16, min(width - numbers, max(len(label(part.name, part.phase)) for part in rows)))
    table = plain_table()
    table.add_column("part", width=columns, no_wrap=True)
    for name in (*heads, "difference"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for part in rows:
        style = DIM if part.phase is None else ""
        table.add_row(Text(label(part.name, part.phase, columns), style), *_three(part.first, part.second, part.seconds, unit))
    first, second = (model.epoch_seconds.median for model in comparison.models)
    table.add_row(Text("epoch", "bold"), *_three(first, second, second - first, unit, "bold"))
    return Group(heading("What makes the difference", f"in {unit.name} of an epoch, largest first"), table)


def _causes(comparison: Comparison) -> Group:
    """Seconds by cause, adding up to the epochs and to their difference."""
    one, two = names(comparison, 14)
    unit = common_unit(comparison)
    table = plain_table()
    table.add_column("cause")
    for name in (one, two, "difference"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for row in cause_rows(comparison):
        table.add_row(Text(row.name), *_seconds(row, unit), Text(row.meaning))
    first, second = (model.epoch_seconds.median for model in comparison.models)
    total = CauseRow("epoch", first, second, "the sum: a median, undisturbed epoch")
    table.add_row(Text(total.name, "bold"), *_seconds(total, unit, "bold"), Text(total.meaning, "bold"))
    return Group(heading("Why it takes its seconds", f"in {unit.name} of an epoch"), table)


def _seconds(row: CauseRow, unit: Unit, style: str = "") -> tuple[Text, Text, Text]:
    return _three(row.first, row.second, row.difference, unit, style)


def _three(
    first: float | None, second: float | None, difference: float, unit: Unit, style: str = ""
) -> tuple[Text, Text, Text]:
    """Seconds of both models and their difference."""
    return (
        Text(NOTHING if first is None else unit.text(first), style),
        Text(NOTHING if second is None else unit.text(second), style),
        Text(unit.text(difference, sign=True), style),
    )


def evidence_of(models: tuple[ModelExplanation, ...]) -> RenderableType | None:
    """What was measured for each cause that matters."""
    lines: list[RenderableType] = []
    for model in models:
        for cause, found in evidence(model, LEAST_EVIDENCE):
            lines.append(Padding(Text.assemble((f"{model.name}, {cause.name}: ", "bold"), found), (0, 0, 0, 2)))
    return Group(heading("Evidence"), *lines) if lines else None
