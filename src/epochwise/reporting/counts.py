"""Draws :class:`~epochwise.counting.counts.Counts` for the terminal: totals, a row per layer, memory, what is not counted."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from epochwise.counting.counts import Counts, LargestBatch
from epochwise.counting.side_by_side import TOTALS
from epochwise.explaining.reuse import reuse_sentence, sample_word
from epochwise.explaining.wording import bytes_text
from epochwise.reporting.contents import framework
from epochwise.reporting.figures import (
    NOTHING,
    UNKNOWN,
    count_text,
    digits,
    exact_text,
    memory_text,
    shape_text,
    shortened,
)
from epochwise.reporting.layers import BY_STEP, COLUMNS, Column, Line, View, added, lines
from epochwise.reporting.terminal import Sized, blocks, hanging, heading, notes, pairs, plain_table

SHAPE_COLUMNS, FEWEST_NAME_COLUMNS, FEWEST_KIND_COLUMNS = 14, 5, 8
INDENT = "  "
MEMORY = {
    "parameters": "all weights",
    "gradients": "one for each trainable weight",
    "optimizer": "the optimizer's own variables",
    "activations": "forward values kept for the backward pass",
    "peak": "the most that is alive at once",
}


def render(counts: Counts, view: View | None = None) -> RenderableType:
    """The whole record, for 80 columns and more.

    Args:
        counts: what is drawn.
        view: which columns, levels and order of the table of layers; by default the usual ones.
    """
    view = view or View()
    return blocks(
        Group(heading(f"{counts.name}: what a training step costs"), pairs(_totals(counts))),
        Group(layers(counts, view), legend(view)),
        _memory(counts),
        uncounted(counts),
        notes(counts.notes),
    )


def _totals(counts: Counts) -> list[tuple[str, str]]:
    each, weights = counts.per_sample, counts.parameters
    frozen = f" ({weights.trainable:,} trainable, {weights.frozen:,} frozen)" if weights.frozen else ""
    shape = f"; input {shape_text(counts.input_shape)}" if counts.input_shape else ""
    return [
        ("backend", f"{framework(counts.backend)}; batch of {counts.batch_size}{shape}; from a trace, nothing was run"),
        ("parameters", f"{weights.total:,}{frozen}"),
        ("forward", f"{exact_text(each.forward_macs)} MACs, {exact_text(each.forward_flops)} FLOPs per {sample_word(counts)}"),
        (
            "training",
            f"{exact_text(each.training_macs)} MACs, {exact_text(each.training_flops)} FLOPs per {sample_word(counts)}",
        ),
        ("activations", f"{exact_text(each.activation_elements)} elements per {sample_word(counts)}"),
        *_reuse(counts),
        *([("not counted", f"{not_counted(counts)}, listed below; the figures are without them")] if counts.uncounted else []),
    ]


def not_counted(counts: Counts) -> str:
    """How many kinds of operations have no known cost."""
    return "1 operation" if len(counts.uncounted) == 1 else f"{len(counts.uncounted)} operations"


def macs_per_parameter(counts: Counts) -> tuple[float, float] | None:
    """MACs of one sample over all weights, forward and in training; ``None`` for a model without weights."""
    forward, training = (TOTALS[f"{name}_macs_per_parameter"](counts) for name in ("forward", "training"))
    return None if forward is None or training is None else (forward, training)


def _reuse(counts: Counts) -> list[tuple[str, str]]:
    """MACs per parameter, and how often the weights of the layers that matter are used."""
    reuse, sentence = macs_per_parameter(counts), reuse_sentence(counts)
    if reuse is None or sentence is None:
        return []
    forward, training = map(digits, reuse)
    return [("reuse", f"{forward} MACs per parameter forward, {training} in training. {sentence}")]


def layers(counts: Counts, view: View, title: str = "Layers") -> Group:
    """The table of layers under its heading."""
    columns = [COLUMNS[key] for key in view.columns]
    order = "" if view.sort == BY_STEP else f"by {view.sort}"
    return Group(heading(title, order), Sized(lambda width: _table(counts, view, columns, width)))


def legend(view: View) -> Text:
    """What the figures of each column are; columns with the same unit together."""
    units: dict[str, list[str]] = {}
    for column in (COLUMNS[key] for key in view.columns):
        units.setdefault(column.unit, []).append(column.head)
    return Text("; ".join(f"{', '.join(heads)}: {unit}" for unit, heads in units.items()), "dim")


def _cell(line: Line, column: Column, batch: int) -> str:
    """A figure; numbers of a million and more with four digits, nothing where an open container does no work."""
    if line.state == "open" and not line.rows:
        return ""
    figure = line.figure(column, batch)
    return NOTHING if figure is None else count_text(figure)


def _table(counts: Counts, view: View, columns: list[Column], width: int) -> Table:
    """A line per layer, and their sum."""
    shown = lines(counts, view)
    cells = [[_cell(line, column, counts.batch_size) for column in columns] for line in shown]
    sums = [added(counts.layers, column, counts.batch_size) for column in columns]
    cells.append(["" if total is None else count_text(total) for total in sums])
    numbers = [max(len(word) for word in column.head.split()) for column in columns]
    numbers = [max(size, *(len(row[place]) for row in cells)) for place, size in enumerate(numbers)]
    shapes = min(SHAPE_COLUMNS, max((len(shape_text(line.shape)) for line in shown), default=0))
    shapes = max(shapes, len("output"))
    left = width - sum(numbers) - len(numbers)
    longest_kind = max((len(line.kind) for line in shown), default=4)
    longest_name = max((len(INDENT * line.level + line.name) for line in shown), default=5)
    names, kinds, shapes = _widths(left, longest_name, longest_kind, shapes)
    table = plain_table(gap=1)
    table.add_column("layer", width=names, overflow="fold")
    if kinds:
        table.add_column("kind", width=kinds, no_wrap=True)
    if shapes:
        table.add_column("output", width=shapes, no_wrap=True)
    for column, size in zip(columns, numbers, strict=True):
        table.add_column(column.head, justify="right", width=size)
    for line, figures in zip(shown, cells, strict=False):
        texts: list[RenderableType] = [_name(line, names)]
        if kinds:
            texts.append(Text(shortened(line.kind, kinds), "dim"))
        if shapes:
            texts.append(Text(shortened(shape_text(line.shape), shapes), "dim"))
        table.add_row(*texts, *(Text(text, "dim" if text in ("0", NOTHING) else "") for text in figures))
    blank = [""] * (bool(kinds) + bool(shapes))
    table.add_row(Text("sum", "bold"), *blank, *(Text(text, "bold") for text in cells[-1]))
    return table


def _widths(left: int, name: int, kind: int, shape: int) -> tuple[int, int, int]:
    """Columns for names, kinds and shapes of what is left beside the figures: names first; what has no room is left out."""
    room = left - shape - 2
    kinds = min(kind, room - name) if name <= room else min(kind, room // 3)  # a name that does not fit anyway goes on below
    if kinds < min(kind, FEWEST_KIND_COLUMNS):
        kinds = 0
    shapes = shape if left - kinds - shape - 2 >= min(name, 2 * FEWEST_NAME_COLUMNS) else 0
    spaces = bool(kinds) + bool(shapes)
    return max(FEWEST_NAME_COLUMNS, min(name, left - kinds - shapes - spaces)), kinds, shapes


def _name(line: Line, columns: int) -> Text:
    """The name at its place in the tree; one that is too long goes on in the next line, without losing its place."""
    indent = INDENT * line.level
    room = max(FEWEST_NAME_COLUMNS, columns - len(indent))
    parts = [line.name[at : at + room] for at in range(0, len(line.name), room)] or [""]
    return Text("\n".join(indent + part for part in parts), "bold" if line.state == "open" else "")


def _memory(counts: Counts) -> Group:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, meaning in MEMORY.items():
        table.add_row(name, bytes_text(getattr(counts.memory_bytes, name)), meaning)
    answer = [] if counts.largest_batch is None else [hanging(largest_batch_text(counts.largest_batch))]
    return Group(heading("Memory", f"of a training step with a batch of {counts.batch_size}"), table, *answer)


def largest_batch_text(found: LargestBatch) -> str:
    """The answer to ``--memory``."""
    memory = memory_text(found.memory_bytes)
    if found.batch_size is None:
        return f"Not even a batch of 1 fits into {memory}: its peak is {bytes_text(found.peak_bytes)}."
    text = f"The largest batch that fits into {memory} is {found.batch_size:,}: its peak is {found.peak_bytes:,} bytes"
    if found.next_peak_bytes is None:
        return f"{text}, and larger ones were not tried."
    return f"{text}; one sample more needs {found.next_peak_bytes:,} bytes."


def uncounted(counts: Counts) -> Group | None:
    """The table of what is in no figure; ``None`` where all is counted."""
    if not counts.uncounted:
        return None
    table = plain_table()
    table.add_column("operation", overflow="fold")
    table.add_column("in a step", justify="right")
    table.add_column("layer", overflow="fold")
    table.add_column("reason")
    for row in counts.uncounted:
        table.add_row(
            Text(row.operation), UNKNOWN if row.times is None else f"{row.times:,}", Text(row.layer or ""), Text(row.reason)
        )
    return Group(heading("Not counted", "operations whose cost is in no figure above"), table)
