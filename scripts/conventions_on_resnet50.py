"""Prints the table of docs/conventions.md that says what each convention changes on ResNet-50.

    KERAS_BACKEND=jax .venv/bin/python scripts/conventions_on_resnet50.py

The model is ``keras.applications.ResNet50(weights=None)``, 224 x 224, compiled with plain SGD, with a batch of 32. Nothing is
run; it takes a minute or two. ``--write`` puts the table into the page.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from epochwise.counting import trace_model
from epochwise.counting.assembling import count_trace
from epochwise.counting.counts import Counts
from epochwise.counting.flow import Flow

PAGE = Path(__file__).parents[1] / "docs" / "conventions.md"
START, END = "<!-- table: resnet50 -->\n", "<!-- /table -->"
BATCH = 32


class Again(keras.layers.Layer):
    """A model whose forward pass is run again in the backward pass."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def call(self, image: Any, training: bool | None = None) -> Any:
        """What the model gives; only what went in is kept."""
        return keras.remat(lambda image: self.inner(image, training=training))(image)


def counted(optimizer: str = "sgd", batch: int = BATCH, *, frozen: bool = False, again: bool = False) -> tuple[Counts, Flow]:
    """Counts of ResNet-50, and the flow that they come from.

    Args:
        optimizer: its name in Keras.
        batch: samples in a step.
        frozen: all layers but the last are frozen.
        again: its forward pass is run again in the backward pass.
    """
    keras.utils.clear_session()
    model = keras.applications.ResNet50(weights=None)
    for layer in model.layers[:-1]:
        layer.trainable = not frozen
    if again:
        model = keras.Sequential([keras.Input(model.input_shape[1:]), Again(model)])
    model.compile(optimizer, "sparse_categorical_crossentropy")
    trace = trace_model(model, batch)
    return count_trace(trace, "ResNet-50"), Flow(trace)


def without_padding(flow: Flow) -> int:
    """Forward MACs of one image, less those of taps that lie on a convolution's own padding."""
    trace, total = flow.trace, 0
    for operation, rule in zip(trace.operations, flow.rules, strict=True):
        if operation.phase != "forward" or rule is None or rule.family != "contraction":
            continue
        left, right = (trace.values[value].shape for value in operation.inputs[:2])
        made = trace.values[operation.outputs[0]].shape
        if operation.name != "conv_general_dilated":
            total += math.prod(made) * left[-1]
            continue
        pairs = 1  # of an output position and a tap that meets the image, along each axis; layout (B, H, W, C)
        attributes: Any = operation.attributes
        for axis in (1, 2):
            stride, before = attributes["window_strides"][axis - 1], attributes["padding"][axis - 1][0]
            reached = (place * stride - before + tap for place in range(made[axis]) for tap in range(right[axis - 1]))
            pairs *= sum(0 <= at < left[axis] for at in reached)
        total += made[0] * pairs * right[2] * right[3]
    return total // trace.batch_size


def biases(counts: Counts) -> int:
    """Additions of a bias for one image: one for each element that a layer with a bias gives."""
    model = keras.applications.ResNet50(weights=None)
    named = {layer.name for layer in model.layers if getattr(layer, "use_bias", False)}
    return sum(math.prod(row.output_shape[1:]) for row in counts.layers if row.name in named and row.output_shape)  # type: ignore[arg-type]


def of_each_operation(flow: Flow) -> int:
    """Bytes that the operations of the forward pass read and write, each for itself; views move nothing."""
    values = flow.trace.values
    return sum(
        sum(values[value].bytes for value in (*operation.inputs, *operation.outputs))
        for place, operation in enumerate(flow.trace.operations)
        if operation.phase == "forward" and not flow.is_view(place)
    )


def rows() -> list[tuple[str, str, float, str, float]]:
    """Convention, what it concerns, the figure here, what would be done otherwise, the figure then."""
    counts, flow = counted()
    one, of_one = counts.per_sample, counted(batch=1)[0].per_sample
    adam, frozen = counted("adam")[0].per_sample, counted(frozen=True)[0].per_sample
    again = counted(again=True)[0].per_sample
    table = {row.name: row for row in counts.layers}
    first = table["conv1_conv"]
    forward_bytes = sum(row.forward.bytes for row in counts.layers)
    return [
        ("MAC or FLOP", "forward, MACs", one.forward_macs, "in FLOPs, 2 for each", 2 * one.forward_macs),
        ("other work apart", "forward, FLOPs of MACs alone", 2 * one.forward_macs, "with all other FLOPs", one.forward_flops),
        ("padding counts", "forward, MACs", one.forward_macs, "taps on padding left out", without_padding(flow)),
        ("causal masks count full", "forward, MACs", one.forward_macs, "masked half left out: no attention", one.forward_macs),
        ("biases are additions", "forward, MACs", one.forward_macs, "a MAC for each", one.forward_macs + biases(counts)),
        ("gradients as computed", "training, MACs", one.training_macs, "3 times forward", 3 * one.forward_macs),
        (
            *("no input gradient for the first layer", "training, MACs", one.training_macs),
            *("charged like the others", one.training_macs + first.forward_macs),
        ),
        (
            *("no weight gradient for frozen layers", "training of the last layer alone, MACs", frozen.training_macs),
            *("as if all layers learnt", one.training_macs),
        ),
        ("optimizer counts", "training, FLOPs, SGD", one.training_flops, "with Adam", adam.training_flops),
        (
            "work once a step is shared out",
            "training, FLOPs, batch of 32",
            one.training_flops,
            "batch of 1",
            of_one.training_flops,
        ),
        ("recomputation counts", "training, MACs", one.training_macs, "all in `keras.remat`", again.training_macs),
        (
            *("bytes at the borders of layers", "forward, bytes of an image", forward_bytes / BATCH),
            *("of each operation on JAX", of_each_operation(flow) / BATCH),
        ),
    ]


def number(figure: float) -> str:
    """With commas; a fraction where it is one."""
    return f"{figure:,.0f}" if figure == int(figure) else f"{figure:,.1f}"


def table() -> str:
    """The table in Markdown."""
    lines = ["| convention | figure | here | otherwise | then |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {of} | {number(here)} | {other} | {number(then)} |" for name, of, here, other, then in rows()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, or put it into the page."""
    made = table()
    if "--write" not in sys.argv[1:]:
        sys.stdout.write(made)
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(before + START + made + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
