"""The rows of counts as tables show them: which columns there are, the tree of nested models, and orders.

The terminal, the page and CSV all read the columns here, so that they cannot disagree. Wherever rows are collapsed or sorted,
the figures that add up still add up to the totals.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from epochwise.counting.counts import Container, Counts, LayerCounts, Number, Work


class Column(NamedTuple):
    """A figure of each row.

    Attributes:
        key: what ``--columns`` and ``--sort`` call it.
        head: over the table, short.
        unit: what the figures are, for the line below the table.
        help: what it means.
        read: the figure of a row in a step of so many samples; ``None`` where a row has none.
        adds_up: whether figures of several rows can be added.
    """

    key: str
    head: str
    unit: str
    help: str
    read: Callable[[LayerCounts, int], Number | None]
    adds_up: bool = True


def _each(amount: int, batch: int) -> Number:
    """A step's amount for one sample: an ``int`` where that is exact."""
    return amount // batch if amount % batch == 0 else amount / batch


def _phases(row: LayerCounts) -> tuple[Work, Work, Work]:
    return row.forward, row.backward, row.update


_MACS = "MACs per sample"
_FLOPS = "FLOPs per sample"
_BYTES = "bytes per step"

COLUMNS = {
    column.key: column
    for column in (
        Column(
            "parameters",
            "weights",
            "the layer's own",
            "Weights that the layer itself owns, trainable or not.",
            lambda row, _: row.parameters,
        ),
        Column(
            "reuse",
            "reuse",
            "uses of each weight per sample",
            "How often the forward pass uses each weight of the layer's products for one sample.",
            lambda row, _: row.uses_per_weight,
            adds_up=False,
        ),
        Column(
            "macs", "forward", _MACS, "Multiply-accumulates of the forward pass, per sample.", lambda row, _: row.forward_macs
        ),
        Column(
            "weight-gradient-macs",
            "weight grad.",
            _MACS,
            "Multiply-accumulates for the gradient of its weights, per sample.",
            lambda row, _: row.weight_gradient_macs,
        ),
        Column(
            "input-gradient-macs",
            "input grad.",
            _MACS,
            "Multiply-accumulates for the gradient of its input, per sample; the first layer needs none.",
            lambda row, _: row.input_gradient_macs,
        ),
        Column(
            "training-macs",
            "training MACs",
            _MACS,
            "Multiply-accumulates of forward pass, backward pass and update, per sample.",
            lambda row, batch: _each(sum(work.macs for work in _phases(row)), batch),
        ),
        Column(
            "activations",
            "outputs",
            "elements per sample",
            "Elements that it writes in the forward pass, per sample.",
            lambda row, _: row.activation_elements,
        ),
        Column(
            "flops",
            "forward FLOPs",
            _FLOPS,
            "2 for each MAC, and the other FLOPs, of the forward pass, per sample.",
            lambda row, batch: _each(2 * row.forward.macs + row.forward.other_flops, batch),
        ),
        Column(
            "training-flops",
            "training FLOPs",
            _FLOPS,
            "2 for each MAC, and the other FLOPs, of forward pass, backward pass and update, per sample.",
            lambda row, batch: _each(sum(2 * work.macs + work.other_flops for work in _phases(row)), batch),
        ),
        Column(
            "other-flops",
            "other FLOPs",
            _FLOPS,
            "FLOPs that are no MACs (element-wise work, reductions, pooling, the optimizer's) of all phases, per sample.",
            lambda row, batch: _each(sum(work.other_flops for work in _phases(row)), batch),
        ),
        Column(
            "forward-bytes",
            "forward bytes",
            _BYTES,
            "Bytes across the layer's borders in the forward pass of a step.",
            lambda row, _: row.forward.bytes,
        ),
        Column(
            "backward-bytes",
            "backward bytes",
            _BYTES,
            "Bytes across the layer's borders in the backward pass of a step.",
            lambda row, _: row.backward.bytes,
        ),
        Column(
            "update-bytes",
            "update bytes",
            _BYTES,
            "Bytes that the optimizer reads and writes for the layer's weights in a step.",
            lambda row, _: row.update.bytes,
        ),
        Column(
            "bytes",
            "bytes",
            _BYTES,
            "Bytes across the layer's borders in a step, all phases.",
            lambda row, _: sum(work.bytes for work in _phases(row)),
        ),
        Column("calls", "calls", "per step", "How often a step calls it.", lambda row, _: row.calls, adds_up=False),
    )
}
"""By key, in the order in which they are explained."""

USUAL = ("parameters", "reuse", "macs", "weight-gradient-macs", "input-gradient-macs", "activations")
BY_NAME, BY_STEP = "name", "execution"
ORDERS = (BY_STEP, BY_NAME, *COLUMNS)


class View(NamedTuple):
    """What is shown of the rows.

    Attributes:
        columns: keys of :data:`COLUMNS`.
        sort: ``execution`` (a tree), ``name``, or a column's key, largest first (both flat).
        depth: levels of nested models that are shown; ``None`` for all. What is deeper is added up.
    """

    columns: tuple[str, ...] = USUAL
    sort: str = BY_STEP
    depth: int | None = None


class Line(NamedTuple):
    """A line of the table.

    Attributes:
        name: as shown: in a tree the part of the path that the line above it does not have.
        path: the whole.
        kind: its class.
        shape: of its output.
        level: how deep in the tree; 0 in a flat table.
        rows: the rows that its figures are the sums of: one; several for a collapsed container; none for an open one that does
            no work of its own.
        state: ``row``, an ``open`` container whose parts follow, or a ``closed`` one.
    """

    name: str
    path: str
    kind: str
    shape: tuple[int | None, ...] | None
    level: int
    rows: tuple[LayerCounts, ...]
    state: Literal["row", "open", "closed"] = "row"

    def figure(self, column: Column, batch: int) -> Number | None:
        """Its figure in a column: the sum of its rows, or what they have in common; ``None`` where there is none."""
        if column.adds_up:
            return added(self.rows, column, batch) if self.rows else None
        found = {column.read(row, batch) for row in self.rows} - {None}
        return found.pop() if len(found) == 1 else None


def added(rows: Sequence[LayerCounts], column: Column, batch: int) -> Number | None:
    """Sum of a column, exact where it is whole; ``None`` for a column that does not add up."""
    if not column.adds_up:
        return None
    total = sum(column.read(row, batch) or 0 for row in rows)
    return int(total) if float(total).is_integer() else total


def lines(counts: Counts, view: View) -> list[Line]:
    """The lines of the table of layers; the rows of all lines together are all rows, each once."""
    found = _tree(counts, view.depth)
    if view.sort == BY_STEP:
        return found
    flat = [line._replace(name=line.path, level=0) for line in found if line.rows]
    if view.sort == BY_NAME:
        return sorted(flat, key=lambda line: line.path)
    column = COLUMNS[view.sort]
    return sorted(flat, key=lambda line: -(line.figure(column, counts.batch_size) or 0))


def _tree(counts: Counts, depth: int | None) -> list[Line]:
    """Containers in front of what they contain, down to ``depth`` levels."""
    containers = {container.name: container for container in counts.containers}
    rows = {row.name: row for row in counts.layers}
    inside: dict[str | None, list[str]] = {}
    for name in _in_order(counts, containers):
        parent = (rows.get(name) or containers[name]).parent
        inside.setdefault(parent if parent in containers else None, []).append(name)

    def below(name: str) -> tuple[LayerCounts, ...]:
        own = (rows[name],) if name in rows else ()
        return own + tuple(row for part in inside.get(name, ()) for row in below(part))

    def level(parent: str | None, at: int) -> list[Line]:
        found = []
        for name in inside.get(parent, ()):
            what = containers.get(name) or rows[name]
            own = (rows[name],) if name in rows else ()
            parts = inside.get(name, ())
            closed = bool(parts) and depth is not None and at + 1 >= depth
            state: Literal["row", "open", "closed"] = "closed" if closed else "open" if parts else "row"
            line = Line(_within(name, parent), name, what.kind, what.output_shape, at, below(name) if closed else own, state)
            found.append(line)
            if parts and not closed:
                found += level(name, at + 1)
        return found

    return level(None, 0)


def _in_order(counts: Counts, containers: dict[str, Container]) -> list[str]:
    """Names of rows, each with the containers around it in front when they come up first."""
    names: dict[str, None] = {}

    def add(name: str, parent: str | None) -> None:
        if parent is not None and parent in containers:
            add(parent, containers[parent].parent)
        names.setdefault(name)

    for row in counts.layers:
        add(row.name, row.parent if row.parent in containers else None)
    return list(names)


def _within(name: str, parent: str | None) -> str:
    """The part of a path below its parent; ``/`` and ``.`` are what frameworks put between."""
    if parent is not None and name.startswith(parent) and name[len(parent) :][:1] in ("/", "."):
        return name[len(parent) + 1 :]
    return name


CSV_FIELDS: dict[str, Callable[[Counts, LayerCounts], object]] = {
    "model": lambda counts, _: counts.name,
    "backend": lambda counts, _: counts.backend,
    "batch_size": lambda counts, _: counts.batch_size,
    "layer": lambda _, row: row.name,
    "parent": lambda _, row: row.parent,
    "kind": lambda _, row: row.kind,
    "calls": lambda _, row: row.calls,
    "output_shape": lambda _, row: (
        None if row.output_shape is None else "x".join(str(size) for size in row.output_shape if size is not None)
    ),
    "parameters": lambda _, row: row.parameters,
    "uses_per_weight": lambda _, row: row.uses_per_weight,
    "forward_macs_per_sample": lambda _, row: row.forward_macs,
    "weight_gradient_macs_per_sample": lambda _, row: row.weight_gradient_macs,
    "input_gradient_macs_per_sample": lambda _, row: row.input_gradient_macs,
    "activation_elements_per_sample": lambda _, row: row.activation_elements,
    "forward_macs_per_step": lambda _, row: row.forward.macs,
    "forward_other_flops_per_step": lambda _, row: row.forward.other_flops,
    "forward_bytes_per_step": lambda _, row: row.forward.bytes,
    "backward_macs_per_step": lambda _, row: row.backward.macs,
    "backward_other_flops_per_step": lambda _, row: row.backward.other_flops,
    "backward_bytes_per_step": lambda _, row: row.backward.bytes,
    "update_macs_per_step": lambda _, row: row.update.macs,
    "update_other_flops_per_step": lambda _, row: row.update.other_flops,
    "update_bytes_per_step": lambda _, row: row.update.bytes,
}


def csv_text(models: Sequence[Counts]) -> str:
    """Every row of every model with all its figures, as CSV with a line of names; what is not known is empty."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for counts in models:
        writer.writerows([read(counts, row) for read in CSV_FIELDS.values()] for row in counts.layers)
    return file.getvalue()
