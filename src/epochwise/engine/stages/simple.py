"""Layers with few or no weights: activations, pooling, dropout, and what only changes a tensor's shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.forms import Form
from epochwise.engine.kernels import elementwise, pools, rows
from epochwise.engine.network import Activation, AveragePool, Dropout, Float32, MaxPool, Reshape
from epochwise.engine.plan import floats
from epochwise.engine.stages.copies import aligned
from epochwise.engine.stages.planning import Planning, Tensor


def like(planning: Planning, number: int, source: Tensor) -> Tensor:
    """A tensor that lies in memory as another does."""
    return planning.new(number, source.form.reshaped(planning.network.shapes[number]))


def kept(form: Form) -> Float32:
    """1 for each real channel, and 0 for padding."""
    keep = floats(form.pitch)
    keep[: form.channels] = 1.0
    return keep


def plan_reshape(planning: Planning, operation: Reshape) -> None:
    """The same memory under another shape."""
    x = planning.tensors[operation.inputs[0]]
    form = x.form.reshaped(planning.network.shapes[operation.output])
    planning.tensors[operation.output] = Tensor(form, x.values, x.gradient, x.arrival)


def plan_activation(planning: Planning, operation: Activation) -> None:
    """Element by element, or softmax over the last axis."""
    x = planning.tensors[operation.inputs[0]]
    if operation.kind == "softmax":
        x = aligned(planning, operation.inputs[0])
    y = like(planning, operation.output, x)
    lanes = x.form.lanes(planning.target)
    if operation.kind == "softmax":
        planning.add_forward(
            rows.softmax(lanes=lanes), x=x.values, y=y.values, keep=kept(x.form), rows=x.form.blocks, padded=x.form.pitch
        )
    else:
        planning.add_forward(
            elementwise.activation(lanes=_activation_lanes(planning, operation, x), kind=operation.kind),
            x=x.values,
            y=y.values,
            keep=kept(x.form),
            size=x.form.size,
            channels=x.form.pitch,
            slope=float(operation.slope),
        )
    planning.later(lambda: _activation_backward(planning, operation, x, y))


def _activation_lanes(planning: Planning, operation: Activation, x: Tensor) -> int:
    """What keeps zero can go over padding."""
    keeps = operation.kind in elementwise.KEEPS_ZERO
    return x.form.flat_lanes(planning.target) if keeps else x.form.lanes(planning.target)


def _activation_backward(planning: Planning, operation: Activation, x: Tensor, y: Tensor) -> None:
    if not y.arrived or x.gradient is None or y.gradient is None:
        return
    lanes = x.form.lanes(planning.target)
    if operation.kind == "softmax":
        planning.add_backward(
            rows.softmax_gradient(lanes=lanes, add=x.arrived),
            y=y.values,
            dy=y.gradient,
            dx=x.gradient,
            rows=x.form.blocks,
            padded=x.form.pitch,
        )
    else:
        planning.add_backward(
            elementwise.activation_gradient(lanes=x.form.flat_lanes(planning.target), kind=operation.kind, add=x.arrived),
            x=x.values,
            y=y.values,
            dy=y.gradient,
            dx=x.gradient,
            size=x.form.size,
            slope=float(operation.slope),
        )
    x.arrived = True


def plan_dropout(planning: Planning, operation: Dropout) -> None:
    """Factors of 0 or 1 / (1 - rate) in training, and a copy otherwise."""
    x = planning.tensors[operation.inputs[0]]
    y = like(planning, operation.output, x)
    lanes = x.form.flat_lanes(planning.target)
    factors = floats(planning.batch, x.form.size)
    planning.add_training(
        pools.dropout(lanes=lanes),
        run=planning.run,
        x=x.values,
        y=y.values,
        factors=factors,
        size=x.form.size,
        seed=operation.seed,
        rate=float(operation.rate),
    )
    planning.add_predicting(elementwise.copy(lanes=lanes, add=False), x=x.values, y=y.values, size=x.form.size, factor=1.0)

    def backward() -> None:
        if y.arrived and x.gradient is not None and y.gradient is not None:
            planning.add_backward(
                elementwise.multiply_add(lanes=lanes, add=x.arrived), a=y.gradient, b=factors, y=x.gradient, size=x.form.size
            )
            x.arrived = True

    planning.later(backward)


def plan_pool(planning: Planning, operation: MaxPool | AveragePool) -> None:
    """The largest or the mean of each window."""
    x = aligned(planning, operation.inputs[0])
    y = planning.new(operation.output, _pooled_form(planning, operation, x))
    lanes = x.form.lanes(planning.target)
    starts = _pool_starts(operation, x.form, y.form)
    common = {
        "starts": starts,
        "positions": len(starts),
        "size": starts.shape[1],
        "channels": x.form.pitch,
        "x_sample": x.form.size,
    }
    if isinstance(operation, MaxPool):
        winners = floats(planning.batch, y.form.size)
        planning.add_forward(pools.max_pool(lanes=lanes), x=x.values, y=y.values, winners=winners, **common)
        common["winners"] = winners
        gradient = pools.max_pool_gradient
    else:
        shares = floats(len(starts))
        shares[:] = 1.0 / (starts >= 0).sum(1)
        common["shares"] = shares
        planning.add_forward(pools.average_pool(lanes=lanes), x=x.values, y=y.values, **common)
        gradient = pools.average_pool_gradient

    def backward() -> None:
        if y.arrived and x.gradient is not None and y.gradient is not None:
            planning.add_backward(gradient(lanes=lanes, add=x.arrived), dy=y.gradient, dx=x.gradient, **common)
            x.arrived = True

    planning.later(backward)


def _pooled_form(planning: Planning, operation: MaxPool | AveragePool, x: Tensor) -> Form:
    shape = planning.network.shapes[operation.output]
    blocks = int(np.prod(shape)) // x.form.channels
    return Form(shape, blocks, x.form.channels, x.form.pitch)


def _pool_starts(operation: MaxPool | AveragePool, x: Form, y: Form) -> NDArray[np.int64]:
    """``(positions, size)``: where the pixels of each window begin, or -1 outside the map."""
    *_, height, width, _ = (1, *x.shape)
    (above, _), (left, _) = operation.padding
    out = tuple(
        (n + first + last - size) // stride + 1
        for n, (first, last), size, stride in zip(
            (height, width), operation.padding, operation.size, operation.strides, strict=True
        )
    )
    i, j, u, v = np.meshgrid(*(np.arange(n) for n in (*out, *operation.size)), indexing="ij")
    row, column = i * operation.strides[0] + u - above, j * operation.strides[1] + v - left
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    starts = np.where(inside, (row * width + column) * x.pitch, -1)
    return np.ascontiguousarray(starts.reshape(out[0] * out[1], -1).astype(np.int64))
