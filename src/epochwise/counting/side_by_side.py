"""Counts of several models in one record: their totals with ratios against the first, and each model's own counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from epochwise.counting.counts import Counts, Number
from epochwise.records import Record


class Total(msgspec.Struct, frozen=True):
    """One figure of all models.

    Attributes:
        name: ``parameters``, ``forward_macs_per_sample``, ``peak_bytes``; units are in the names.
        values: one for each model, in their order; ``None`` where it is not known.
        ratios: each value over the first; ``None`` where one of the two is 0 or not known.
    """

    name: str
    values: tuple[Number | None, ...]
    ratios: tuple[float | None, ...]


class SideBySide(Record, frozen=True, kw_only=True):
    """What a training step of each of several models costs; nothing was run.

    Attributes:
        schema: ``epochwise/counts/1``.
        totals: figure by figure, the models beside each other.
        models: the counts of each.
    """

    schema: str = "epochwise/counts/1"
    totals: tuple[Total, ...]
    models: tuple[Counts, ...]


def _bytes_moved(counts: Counts) -> int:
    return sum(row.forward.bytes + row.backward.bytes + row.update.bytes for row in counts.layers)


def _over_parameters(macs: Number, counts: Counts) -> Number | None:
    total = counts.parameters.total
    if not total:
        return None
    return int(macs // total) if macs % total == 0 else macs / total


TOTALS: dict[str, Callable[[Counts], Number | None]] = {
    "parameters": lambda counts: counts.parameters.total,
    "trainable_parameters": lambda counts: counts.parameters.trainable,
    "forward_macs_per_sample": lambda counts: counts.per_sample.forward_macs,
    "training_macs_per_sample": lambda counts: counts.per_sample.training_macs,
    "forward_flops_per_sample": lambda counts: counts.per_sample.forward_flops,
    "training_flops_per_sample": lambda counts: counts.per_sample.training_flops,
    "forward_macs_per_parameter": lambda counts: _over_parameters(counts.per_sample.forward_macs, counts),
    "training_macs_per_parameter": lambda counts: _over_parameters(counts.per_sample.training_macs, counts),
    "activation_elements_per_sample": lambda counts: counts.per_sample.activation_elements,
    "bytes_per_step": _bytes_moved,
    "parameters_bytes": lambda counts: counts.memory_bytes.parameters,
    "gradients_bytes": lambda counts: counts.memory_bytes.gradients,
    "optimizer_bytes": lambda counts: counts.memory_bytes.optimizer,
    "activations_bytes": lambda counts: counts.memory_bytes.activations,
    "peak_bytes": lambda counts: counts.memory_bytes.peak,
    "batch_size": lambda counts: counts.batch_size,
    "largest_batch_size": lambda counts: None if counts.largest_batch is None else counts.largest_batch.batch_size,
    "uncounted_operations": lambda counts: len(counts.uncounted),
}
"""By name: how a total is read from the counts of one model. MACs per parameter are those of one sample."""


def side_by_side(models: Sequence[Counts]) -> SideBySide:
    """Counts of several models beside each other.

    Args:
        models: what :func:`epochwise.count` gave for each; ratios are against the first.

    Returns:
        Every total of :data:`TOTALS` that is known of at least one model, and the counts themselves.
    """
    totals = []
    for name, read in TOTALS.items():
        values = tuple(read(counts) for counts in models)
        if any(value is not None for value in values):
            totals.append(Total(name, values, tuple(_ratio(value, values[0]) for value in values)))
    return SideBySide(totals=tuple(totals), models=tuple(models))


def _ratio(value: Number | None, first: Number | None) -> float | None:
    return value / first if value and first else None
