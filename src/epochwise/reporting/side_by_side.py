"""Draws :class:`~epochwise.counting.side_by_side.SideBySide` for the terminal: totals beside each other, then each model."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from epochwise.counting.counts import Counts, Number
from epochwise.counting.side_by_side import SideBySide
from epochwise.explaining.reuse import reuse_sentence
from epochwise.explaining.wording import bytes_text
from epochwise.reporting.contents import framework
from epochwise.reporting.counts import largest_batch_text, layers, legend, uncounted
from epochwise.reporting.figures import NOTHING, count_text, digits, exact_text, ratio_text, shape_text, shortened
from epochwise.reporting.layers import View
from epochwise.reporting.terminal import Sized, blocks, hanging, heading, notes, plain_table

LABELS = {
    "parameters": "parameters",
    "trainable_parameters": "trainable",
    "forward_macs_per_sample": "forward MACs",
    "training_macs_per_sample": "training MACs",
    "forward_flops_per_sample": "forward FLOPs",
    "training_flops_per_sample": "training FLOPs",
    "forward_macs_per_parameter": "reuse, forward",
    "training_macs_per_parameter": "reuse, training",
    "activation_elements_per_sample": "activations",
    "bytes_per_step": "bytes moved",
    "parameters_bytes": "memory: parameters",
    "gradients_bytes": "memory: gradients",
    "optimizer_bytes": "memory: optimizer",
    "activations_bytes": "memory: activations",
    "peak_bytes": "memory: peak",
    "largest_batch_size": "largest batch",
    "uncounted_operations": "not counted",
}
"""What each total is called; those that all models have alike, such as the batch, are said above the table."""
LEGEND = "MACs, FLOPs, activations (elements) and reuse (MACs per parameter): per sample; bytes moved, memory: of a step"
HELP = {
    "parameters": "All weights, trainable and frozen.",
    "forward_macs_per_sample": "Multiply-accumulates of contractions; 1 MAC is 2 FLOPs.",
    "training_macs_per_sample": "Forward pass, both gradients, and what the update multiplies.",
    "forward_flops_per_sample": "2 for each MAC, and everything else.",
    "training_flops_per_sample": "Forward, backward, update.",
    "forward_macs_per_parameter": "MACs of the forward pass per sample, over all weights.",
    "training_macs_per_parameter": "MACs of training per sample, over all weights.",
    "activation_elements_per_sample": "Elements that layers write in the forward pass.",
    "bytes_per_step": "Across the borders of layers, all phases.",
    "peak_bytes": "The most that is alive at once.",
}


class TotalRow(NamedTuple):
    """A total as text: of each model, and its ratio against the first."""

    label: str
    values: list[str]
    ratios: list[str]
    help: str


def total_rows(record: SideBySide, *, exact: bool = True) -> list[TotalRow]:
    """The totals as both the terminal and the page show them; what no model has (frozen weights, uncounted work) left out."""
    found = []
    totals = {total.name: total for total in record.totals}
    for name, label in LABELS.items():
        total = totals.get(name)
        if total is None or (name == "uncounted_operations" and not any(total.values)):
            continue
        if name == "trainable_parameters" and total.values == totals["parameters"].values:
            continue
        values = [_value_text(name, value, exact) for value in total.values]
        ratios = [NOTHING if ratio is None else ratio_text(ratio) for ratio in total.ratios]
        found.append(TotalRow(label, values, ratios, HELP.get(name, "")))
    return found


def _value_text(name: str, value: Number | None, exact: bool) -> str:
    if value is None:
        return NOTHING
    if name.endswith("_bytes") or name == "bytes_per_step":
        return bytes_text(value)
    if name.endswith("_per_parameter"):
        return digits(value)
    return exact_text(value) if exact else count_text(value)


def setting(record: SideBySide) -> list[str]:
    """What the counts are of: backend, batch and input of each model, once where all have the same."""
    texts = [_setting_of(counts) for counts in record.models]
    if len(set(texts)) == 1:
        return [f"{texts[0]}; from a trace, nothing was run"]
    return [f"{counts.name}: {text}" for counts, text in zip(record.models, texts, strict=True)]


def _setting_of(counts: Counts) -> str:
    shape = f"; input {shape_text(counts.input_shape)}" if counts.input_shape else ""
    return f"{framework(counts.backend)}; batch of {counts.batch_size}{shape}"


def render(record: SideBySide, view: View | None = None) -> RenderableType:
    """The whole record, for 80 columns and more; ``view`` as for one model."""
    names, view = [counts.name for counts in record.models], view or View()
    return blocks(
        Group(
            heading(f"{', '.join(names)}: what a training step costs, side by side"),
            *(Text(text, "dim") for text in setting(record)),
        ),
        Group(Sized(lambda width: _tables(record, width)), Text(LEGEND, "dim")),
        *(_model(counts, view) for counts in record.models),
        legend(view),
    )


def _tables(record: SideBySide, width: int) -> RenderableType:
    """The totals; more models than fit beside each other go on in further tables, each with the first again."""
    rows = total_rows(record)
    labels = max(len(row.label) for row in rows)
    ratio = [max(len("/ first"), *(len(row.ratios[at]) for row in rows)) for at in range(len(record.models))]
    widest = (width - labels - max(ratio) - 6) // 2  # of a name: two models always stand beside each other
    heads = [shortened(counts.name, widest) for counts in record.models]
    columns = [max(len(head), *(len(row.values[at]) for row in rows)) for at, head in enumerate(heads)]
    room = width - labels - 2 - columns[0]
    groups: list[list[int]] = [[]]
    left = room
    for at in range(1, len(record.models)):
        need = columns[at] + ratio[at] + 4
        if need > left and groups[-1]:
            groups.append([])
            left = room
        groups[-1].append(at)
        left -= need
    return blocks(*(_totals(heads, rows, [0, *group]) for group in groups))


def _totals(heads: list[str], rows: list[TotalRow], shown: list[int]) -> RenderableType:
    table = plain_table()
    table.add_column("", no_wrap=True)
    for at in shown:
        table.add_column(Text(heads[at]), justify="right", no_wrap=True)
        if at:
            table.add_column("/ first", justify="right", style="dim", no_wrap=True)
    for row in rows:
        cells = [Text(row.label, "bold")]
        for at in shown:
            cells.append(Text(row.values[at]))
            if at:
                cells.append(Text(row.ratios[at]))
        table.add_row(*cells)
    return table


def _model(counts: Counts, view: View) -> RenderableType:
    """One model's own part."""
    sentences = [reuse_sentence(counts), counts.largest_batch and largest_batch_text(counts.largest_batch)]
    return blocks(
        Group(layers(counts, view, counts.name), *(hanging(text) for text in sentences if text)),
        uncounted(counts),
        notes(counts.notes),
    )
