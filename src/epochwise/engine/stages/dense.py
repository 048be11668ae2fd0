"""Dense layers, with a relu that follows."""

from __future__ import annotations

from epochwise.engine.code import Call, Given
from epochwise.engine.forms import Packed
from epochwise.engine.kernels import gradients, moves, products
from epochwise.engine.network import Dense, Float32
from epochwise.engine.plan import floats
from epochwise.engine.stages.alike import dense_gradient_rows
from epochwise.engine.stages.copies import aligned
from epochwise.engine.stages.planning import Planning, Tensor, weights_of

_TOGETHER = 16
"""Rows of the kernel that one thread updates together: whole tiles, and whole blocks where the kernel is turned."""

SPLIT_FIRST, SPLIT_INNER = 1 << 14, 1 << 17
"""Floats of a kernel from which on it is split among threads: the first layer's, and that of one whose input has a gradient."""


def plan_dense(planning: Planning, operation: Dense, output: int, relu: bool) -> None:
    """Plan ``y = x W + b``, and relu of it where ``relu`` says so; ``output`` is the last tensor of the two.

    A row is what one product reads: the last axis, which is one block or, after a flatten, the whole sample.
    """
    x = planning.tensors[operation.inputs[0]]
    y = planning.padded(output)
    rows = y.form.blocks
    if rows > 1:
        x = aligned(planning, operation.inputs[0])
    blocks, channels, pitch = x.form.blocks // rows, x.form.channels, x.form.pitch
    inputs, outputs, filters = blocks * pitch, y.form.pitch, y.form.channels
    lanes = y.form.lanes(planning.target)
    kernel = planning.pack(operation.kernel, (blocks, pitch, outputs), split=(blocks, channels, filters), copied=False)
    bias = planning.bias(operation.bias, outputs)
    if _is_split(planning, x, inputs * outputs, rows):
        _forward_split(planning, x, y, kernel, bias, relu)
    else:
        vectors, positions = planning.tile(outputs // lanes, rows)
        planning.add_forward(
            products.dense(lanes=lanes, rows=positions, vectors=vectors, relu=relu, add=False),
            x=x.values,
            weights=kernel.values,
            bias=bias,
            y=y.values,
            inputs=inputs,
            outputs=outputs,
            x_row=inputs,
            y_row=outputs,
            rows_of_sample=rows,
        )
    planning.later(lambda: _backward(planning, operation, x, y, relu))


def _is_split(planning: Planning, x: Tensor, kernel: int, rows: int) -> bool:
    """Whether each thread does the products of its own rows of the kernel, for all samples of the step.

    Then a row of a large kernel never goes from one core's cache to another's; what goes instead are sums for each sample. It
    takes one wait more forward, and two more backward where the input has a gradient.
    """
    least = SPLIT_FIRST if x.gradient is None else SPLIT_INNER
    return planning.threads > 1 and rows == 1 and kernel >= least


def _forward_split(planning: Planning, x: Tensor, y: Tensor, kernel: Packed, bias: Float32, relu: bool) -> None:
    lanes, inputs, outputs = y.form.lanes(planning.target), x.form.size, y.form.pitch
    shares = floats(planning.threads, planning.batch, outputs)
    share = planning.batch * outputs
    vectors, positions = planning.tile(outputs // lanes, planning.threads)  # each thread has all samples
    _take_columns(planning, x)
    planning.add_forward_slices(
        inputs,
        _TOGETHER,
        products.dense_shares(lanes=lanes, rows=positions, vectors=vectors),
        x=x.values,
        weights=kernel.values,
        shares=shares,
        inputs=inputs,
        outputs=outputs,
        share=share,
    )
    planning.add_forward(
        products.join_shares(lanes=lanes, relu=relu),
        shares=shares,
        bias=bias,
        y=y.values,
        outputs=outputs,
        share=share,
    )


def _take_columns(planning: Planning, x: Tensor) -> None:
    """Where nothing was done yet but to take samples out of the data, each thread takes the columns that it needs."""
    taking = planning.forward[0]
    if len(planning.forward) == 1 and taking.given["x"] is x.values:
        fixed = dict(taking.variant.fixed)
        planning.forward.clear()
        planning.predicting.clear()
        planning.add_forward_slices(x.form.size, _TOGETHER, moves.take_columns(**fixed), **taking.given)


def _backward(planning: Planning, operation: Dense, x: Tensor, y: Tensor, relu: bool) -> None:
    if y.gradient is None or not y.arrived:
        return
    rows = y.form.blocks
    inputs, outputs = x.form.size // rows, y.form.pitch
    lanes = y.form.lanes(planning.target)
    if relu:
        planning.add_relu_gradient(y)
    planning.add_bias_gradient(operation.bias, y)
    given: dict[str, Given]
    if planning.network.weights[operation.kernel].trained:
        unit = _TOGETHER * outputs
        given = {
            "x": x.values,
            "dy": y.gradient,
            "gradient": planning.weights[operation.kernel].gradient,
            "x_row": inputs,
            "outputs": outputs,
            "rows_of_sample": rows,
        }
        vectors = planning.tile(outputs // lanes, rows)[0]
        shared = operation.kernel in planning.trained
        variant = gradients.dense_gradient(lanes=lanes, inputs=dense_gradient_rows(vectors), vectors=vectors, add=shared)
        alone = not shared and _readers(planning, operation.kernel) == 1
        if not (alone and planning.train_at_once(operation.kernel, variant, given, inputs, _TOGETHER)):
            planning.slice_gradients.append(Call(variant, given, inputs, _TOGETHER))
            planning.train(operation.kernel, unit, copied=False)
    if x.gradient is not None:
        blocks = x.form.blocks // rows
        turned = planning.turned(operation.kernel, inputs, outputs, (outputs, blocks, x.form.pitch), (2, 0, 1), _TOGETHER)
        x_lanes = x.form.flat_lanes(planning.target) if rows == 1 else x.form.lanes(planning.target)
        given = {"x": y.gradient, "weights": turned.values, "y": x.gradient, "inputs": outputs, "outputs": inputs}
        if _is_split(planning, x, inputs * outputs, rows):
            _, positions = planning.tile(1, planning.threads)  # each thread has all samples
            variant = products.dense_columns(lanes=x_lanes, rows=positions, add=x.arrived)
            planning.add_backward_slices(inputs, _TOGETHER, variant, **given)
        else:
            vectors, positions = planning.tile(inputs // x_lanes, rows)
            variant = products.dense(lanes=x_lanes, rows=positions, vectors=vectors, relu=False, add=x.arrived)
            rest: dict[str, Given] = {"x_row": outputs, "y_row": inputs, "rows_of_sample": rows}
            planning.add_backward(variant, **given, bias=planning.zeros(inputs), **rest)
        x.arrived = True


def _readers(planning: Planning, weight: int) -> int:
    """How many operations read a weight."""
    return sum(weights_of(operation).count(weight) for operation in planning.network.operations)
