"""The record of what one training step costs.

Figures "per sample" are those of a step divided by its batch size: an ``int`` when that is exact, which it is for all work that
grows with the batch. 1 MAC (multiply-accumulate) is 2 FLOPs.
"""

from __future__ import annotations

import msgspec

from epochwise.records import Record

Number = int | float
"""A count that is exact as an ``int``; a ``float`` only where a step's count is not a multiple of the batch size."""


class Work(msgspec.Struct, frozen=True):
    """Work of one layer in one phase of one training step (the whole batch).

    Attributes:
        macs: multiply-accumulates of contractions.
        other_flops: FLOPs of everything else: element-wise, reductions, pooling, normalisation, optimizer.
        bytes: bytes moved across the layer's boundary.
    """

    macs: int = 0
    other_flops: int = 0
    bytes: int = 0


class LayerCounts(msgspec.Struct, frozen=True):
    """One row: a layer, or a part of the step outside any layer (``(loss)``, ``(metrics)``, ``(optimizer)``).

    Attributes:
        name: its place as the user named it, ``conv2d`` or ``encoder/dense``.
        kind: its class, ``Conv2D``.
        parameters: weights that this layer itself owns, trainable or not.
        forward_macs: per sample.
        weight_gradient_macs: per sample.
        input_gradient_macs: per sample.
        output_shape: of its last call, with ``None`` for the batch; ``None`` for rows outside any layer.
        activation_elements: per sample, elements that it writes in the forward pass; 0 for a layer that only gives its
            input another shape.
        calls: how often a step calls it.
        forward: work per step.
        backward: work per step: both gradients, and forward work that is done again (checkpointing).
        update: work per step (the optimizer's, on this layer's weights).
        parent: name of the container that it is in, see ``containers``; ``None`` directly in the model.
        uses_per_weight: how often the forward pass uses each weight for one sample: MACs of the products that the layer takes
            with weights, over the number of these weights (no biases); ``None`` where it takes none.
    """

    name: str
    kind: str
    parameters: int
    forward_macs: Number
    weight_gradient_macs: Number
    input_gradient_macs: Number
    output_shape: tuple[int | None, ...] | None
    activation_elements: Number
    calls: int
    forward: Work
    backward: Work
    update: Work
    parent: str | None = None
    uses_per_weight: Number | None = None


class Container(msgspec.Struct, frozen=True):
    """A layer that calls other layers: a nested model, a block.

    Attributes:
        name: its place as the user named it, ``encoder`` or ``encoder/block``.
        kind: its class, ``Functional``.
        parent: name of the container that it is in; ``None`` directly in the model.
        output_shape: of its last call, with ``None`` for the batch.
        calls: how often a step calls it.
    """

    name: str
    kind: str
    parent: str | None
    output_shape: tuple[int | None, ...] | None
    calls: int


class Parameters(msgspec.Struct, frozen=True):
    """How many weights there are."""

    trainable: int
    frozen: int

    @property
    def total(self) -> int:
        """All weights."""
        return self.trainable + self.frozen


class PerSample(msgspec.Struct, frozen=True):
    """Totals per sample. FLOPs are 2 per MAC plus the other FLOPs; training is forward, backward and update."""

    forward_macs: Number
    training_macs: Number
    forward_flops: Number
    training_flops: Number
    activation_elements: Number


class MemoryBytes(msgspec.Struct, frozen=True):
    """Bytes held in one training step of the whole batch.

    Attributes:
        parameters: all weights.
        gradients: one for each trainable weight.
        optimizer: the optimizer's variables.
        activations: forward values kept for the backward pass.
        peak: most bytes alive at once, by liveness over the trace.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    peak: int


class Uncounted(msgspec.Struct, frozen=True):
    """An operation without a rule: its cost is in no figure.

    Attributes:
        operation: the framework's name for it.
        times: how often it occurs in a step; ``None`` in a loop whose trip count is unknown.
        layer: the layer it occurs in, ``None`` outside any.
        reason: ``no rule``, or ``trip count unknown``.
    """

    operation: str
    times: int | None
    layer: str | None
    reason: str = "no rule"


class LargestBatch(msgspec.Struct, frozen=True):
    """The largest batch whose training step fits into a given memory, by the peak of the trace.

    Attributes:
        memory_bytes: the memory that was asked about.
        batch_size: samples; ``None`` where not even one fits.
        peak_bytes: peak with that batch; with one sample where none fits.
        next_peak_bytes: peak with one sample more, which is over the memory; ``None`` where none fits, or where the batch
            makes no difference.
    """

    memory_bytes: int
    batch_size: int | None
    peak_bytes: int
    next_peak_bytes: int | None


class Counts(Record, frozen=True, kw_only=True):
    """What one training step costs, from a trace; nothing was run.

    Attributes:
        schema: ``epochwise/count/1``.
        name: the model's name.
        backend: see :data:`epochwise.tracing.trace.Backend`.
        batch_size: samples in a step.
        parameters: trainable and frozen.
        per_sample: the totals.
        layers: rows whose sums are the totals.
        memory_bytes: what a step holds.
        uncounted: operations whose cost is in no figure.
        notes: what a reader must know to trust the figures.
        input_shape: of the first input, with ``None`` for the batch; ``None`` where it is not known.
        containers: the nested models and blocks that layers are in, parents before children.
        largest_batch: the answer to ``--memory``; ``None`` where it was not asked.
    """

    schema: str = "epochwise/count/1"
    name: str
    backend: str
    batch_size: int
    parameters: Parameters
    per_sample: PerSample
    layers: tuple[LayerCounts, ...]
    memory_bytes: MemoryBytes
    uncounted: tuple[Uncounted, ...] = ()
    notes: tuple[str, ...] = ()
    input_shape: tuple[int | None, ...] | None = None
    containers: tuple[Container, ...] = ()
    largest_batch: LargestBatch | None = None
