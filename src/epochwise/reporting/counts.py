"""Draws :class:`~epochwise.counting.counts.Counts` for the terminal: totals, a row per layer, memory, what is not counted."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from epochwise.counting.counts import Counts, LayerCounts
from epochwise.explaining.wording import bytes_text
from epochwise.reporting.contents import framework
from epochwise.reporting.figures import UNKNOWN, count_text, exact_text, shape_text, shortened
from epochwise.reporting.terminal import Sized, blocks, heading, notes, pairs, plain_table

SHAPE_COLUMNS, FEWEST_NAME_COLUMNS = 14, 5
MEMORY = {
    "parameters": "all weights",
    "gradients": "one for each trainable weight",
    "optimizer": "the optimizer's own variables",
    "activations": "forward values kept for the backward pass",
    "peak": "the most that is alive at once",
}
LEGEND = "weights: the layer's own; forward, gradients: MACs per sample; outputs: elements"
HEADS = ("weights", "forward", "weight grad.", "input grad.", "outputs")


def render(counts: Counts) -> RenderableType:
    """The whole record, for 80 columns and more."""
    return blocks(
        Group(heading(f"{counts.name}: what a training step costs"), pairs(_totals(counts))),
        Sized(lambda width: _layers(counts, width)),
        _memory(counts),
        _uncounted(counts),
        notes(counts.notes),
    )


def _totals(counts: Counts) -> list[tuple[str, str]]:
    each, weights = counts.per_sample, counts.parameters
    frozen = f" ({weights.trainable:,} trainable, {weights.frozen:,} frozen)" if weights.frozen else ""
    return [
        ("backend", f"{framework(counts.backend)}; batch of {counts.batch_size}; from a trace, nothing was run"),
        ("parameters", f"{weights.total:,}{frozen}"),
        ("forward", f"{exact_text(each.forward_macs)} MACs, {exact_text(each.forward_flops)} FLOPs per sample"),
        ("training", f"{exact_text(each.training_macs)} MACs, {exact_text(each.training_flops)} FLOPs per sample"),
        ("activations", f"{exact_text(each.activation_elements)} elements per sample"),
    ]


def figures(row: LayerCounts) -> tuple[float, ...]:
    """The figures of a row, in the order of the table's columns."""
    return (
        row.parameters,
        row.forward_macs,
        row.weight_gradient_macs,
        row.input_gradient_macs,
        row.activation_elements,
    )


def _layers(counts: Counts, width: int) -> Group:
    """A row per layer, and their sum; numbers of a million and more with four digits."""
    sums = tuple(sum(values) for values in zip(*(figures(row) for row in counts.layers), strict=True)) or (0,) * len(HEADS)
    numbers = [max(len(word) for word in head.split()) for head in HEADS]
    for values in (*(figures(row) for row in counts.layers), sums):
        numbers = [max(size, len(count_text(value))) for size, value in zip(numbers, values, strict=True)]
    shapes = min(SHAPE_COLUMNS, max((len(shape_text(row.output_shape)) for row in counts.layers), default=0))
    shapes = max(shapes, len("output"))
    left = width - sum(numbers) - shapes - len(numbers) - 2
    longest_kind = max((len(row.kind) for row in counts.layers), default=4)
    longest_name = max((len(row.name) for row in counts.layers), default=5)
    kinds = min(longest_kind, max(left - longest_name, left // 2))
    names = max(FEWEST_NAME_COLUMNS, min(longest_name, left - kinds))
    table = plain_table(gap=1)
    table.add_column("layer", width=names, overflow="fold")
    table.add_column("kind", width=kinds, no_wrap=True)
    table.add_column("output", width=shapes, no_wrap=True)
    for head, size in zip(HEADS, numbers, strict=True):
        table.add_column(head, justify="right", width=size)
    for row in counts.layers:
        shape = shortened(shape_text(row.output_shape), shapes)
        table.add_row(
            Text(row.name),
            Text(shortened(row.kind, kinds), "dim"),
            Text(shape, "dim"),
            *(count_text(value) for value in figures(row)),
        )
    table.add_row(Text("sum", "bold"), "", "", *(Text(count_text(value), "bold") for value in sums))
    return Group(heading("Layers"), table, Text(LEGEND, "dim"))


def _memory(counts: Counts) -> Group:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, meaning in MEMORY.items():
        table.add_row(name, bytes_text(getattr(counts.memory_bytes, name)), meaning)
    return Group(heading("Memory", f"of a training step with a batch of {counts.batch_size}"), table)


def _uncounted(counts: Counts) -> Group | None:
    if not counts.uncounted:
        return None
    table = plain_table()
    table.add_column("operation")
    table.add_column("in a step", justify="right")
    table.add_column("layer")
    table.add_column("reason")
    for row in counts.uncounted:
        table.add_row(
            Text(row.operation), UNKNOWN if row.times is None else f"{row.times:,}", Text(row.layer or ""), Text(row.reason)
        )
    return Group(heading("Not counted", "operations whose cost is in no figure above"), table)
