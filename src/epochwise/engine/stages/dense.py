"""Dense layers, with a relu that follows."""

from __future__ import annotations

from epochwise.engine.code import Call, Given
from epochwise.engine.kernels import gradients, products
from epochwise.engine.network import Dense
from epochwise.engine.stages.copies import aligned
from epochwise.engine.stages.planning import Planning, Tensor

_ROWS = {1: 8, 2: 8, 3: 4, 4: 4}
"""Rows of a register tile of the gradient of the kernel, by its vectors."""

_TOGETHER = 16
"""Rows of the kernel that one thread updates together: whole tiles, and whole blocks where the kernel is turned."""


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
    vectors, positions = planning.tile(outputs // lanes, rows)
    planning.add_forward(
        products.dense(lanes=lanes, rows=positions, vectors=vectors, relu=relu, add=False),
        x=x.values,
        weights=kernel.values,
        bias=planning.bias(operation.bias, outputs),
        y=y.values,
        inputs=inputs,
        outputs=outputs,
        rows_of_sample=rows,
    )
    planning.later(lambda: _backward(planning, operation, x, y, relu))


def _backward(planning: Planning, operation: Dense, x: Tensor, y: Tensor, relu: bool) -> None:
    if y.gradient is None or not y.arrived:
        return
    rows = y.form.blocks
    inputs, outputs = x.form.size // rows, y.form.pitch
    lanes = y.form.lanes(planning.target)
    if relu:
        planning.add_relu_gradient(y)
    planning.add_bias_gradient(operation.bias, y)
    if planning.network.weights[operation.kernel].trained:
        unit = _TOGETHER * outputs
        given: dict[str, Given] = {
            "x": x.values,
            "dy": y.gradient,
            "gradient": planning.weights[operation.kernel].gradient,
            "x_row": inputs,
            "outputs": outputs,
            "rows_of_sample": rows,
        }
        vectors = planning.tile(outputs // lanes, rows)[0]
        shared = operation.kernel in planning.trained
        variant = gradients.dense_gradient(lanes=lanes, inputs=_ROWS[vectors], vectors=vectors, add=shared)
        planning.slice_gradients.append(Call(variant, given, inputs, _TOGETHER))
        planning.train(operation.kernel, unit, copied=False)
    if x.gradient is not None:
        blocks = x.form.blocks // rows
        turned = planning.turned(operation.kernel, inputs, outputs, (outputs, blocks, x.form.pitch), (2, 0, 1), _TOGETHER)
        x_lanes = x.form.lanes(planning.target)
        vectors, positions = planning.tile(inputs // x_lanes, rows)
        planning.add_backward(
            products.dense(lanes=x_lanes, rows=positions, vectors=vectors, relu=False, add=x.arrived),
            x=y.gradient,
            weights=turned.values,
            bias=planning.zeros(inputs),
            y=x.gradient,
            inputs=outputs,
            outputs=inputs,
            rows_of_sample=rows,
        )
        x.arrived = True
