"""Tensors put together, copied, widened and looked up."""

from __future__ import annotations

from math import prod

import numpy as np

from epochwise.engine.code import Given
from epochwise.engine.forms import Form
from epochwise.engine.kernels import elementwise, moves, pools
from epochwise.engine.network import Combine, Concatenate, Embedding, Float32, Pad, Rescale, UpSample
from epochwise.engine.plan import floats
from epochwise.engine.stages.copies import aligned, plan_copy
from epochwise.engine.stages.planning import Planning, Tensor
from epochwise.engine.stages.simple import like


def plan_combine(planning: Planning, operation: Combine) -> None:
    """From left to right, element by element."""
    inputs = [planning.tensors[number] for number in operation.inputs]
    if any(x.form != inputs[0].form for x in inputs):
        inputs = [aligned(planning, number, anew=True) for number in operation.inputs]
    y = like(planning, operation.output, inputs[0])
    size, lanes = y.form.size, y.form.flat_lanes(planning.target)
    kind = "add" if operation.kind == "average" else operation.kind
    before = inputs[0].values
    for x in inputs[1:]:
        planning.add_forward(elementwise.combine(lanes=lanes, kind=kind), a=before, b=x.values, y=y.values, size=size)
        before = y.values
    share = 1.0 / len(inputs) if operation.kind == "average" else 1.0
    if len(inputs) == 1 or operation.kind == "average":
        planning.add_forward(elementwise.copy(lanes=lanes, add=False), x=before, y=y.values, size=size, factor=share)
    planning.later(lambda: _combine_backward(planning, operation, inputs, y))


def _combine_backward(planning: Planning, operation: Combine, inputs: list[Tensor], y: Tensor) -> None:
    if not y.arrived or y.gradient is None:
        return
    if operation.kind == "maximum":
        _maximum_backward(planning, inputs, y)
        return
    size, lanes = y.form.size, y.form.flat_lanes(planning.target)
    for place, x in enumerate(inputs):
        if x.gradient is None:
            continue
        if operation.kind == "multiply":
            others = _product(planning, [other for at, other in enumerate(inputs) if at != place], size, lanes)
            planning.add_backward(
                elementwise.multiply_add(lanes=lanes, add=x.arrived), a=y.gradient, b=others, y=x.gradient, size=size
            )
        else:
            factor = {"average": 1.0 / len(inputs), "subtract": -1.0 if place else 1.0}.get(operation.kind, 1.0)
            planning.add_backward(
                elementwise.copy(lanes=lanes, add=x.arrived), x=y.gradient, y=x.gradient, size=size, factor=factor
            )
        x.arrived = True


def _product(planning: Planning, factors: list[Tensor], size: int, lanes: int) -> Float32:
    """The product of some tensors, worked out in the backward pass."""
    product = factors[0].values
    for factor in factors[1:]:
        room = floats(planning.batch, size)
        planning.add_backward(elementwise.combine(lanes=lanes, kind="multiply"), a=product, b=factor.values, y=room, size=size)
        product = room
    return product


def _maximum_backward(planning: Planning, inputs: list[Tensor], y: Tensor) -> None:
    assert y.gradient is not None
    size = y.form.size
    taken = floats(planning.batch, size)
    for place, x in enumerate(inputs):
        target = floats(planning.batch, size) if x.gradient is None else x.gradient
        planning.add_backward(
            elementwise.maximum_gradient(lanes=y.form.flat_lanes(planning.target), first=place == 0, add=x.arrived),
            x=x.values,
            y=y.values,
            taken=taken,
            dy=y.gradient,
            dx=target,
            size=size,
        )
        x.arrived = x.gradient is not None


def plan_concatenate(planning: Planning, operation: Concatenate) -> None:
    """Along channels, or along another axis, of which each input has a run."""
    inputs = [aligned(planning, number) for number in operation.inputs]
    shape = planning.network.shapes[operation.output]
    y = planning.padded(operation.output)
    if operation.axis == len(shape) - 1:
        blocks, widths, apart = y.form.blocks, [(x.form.channels, x.form.pitch) for x in inputs], y.form.pitch
    else:
        inputs = [_like_pitch(planning, number, x, y.form.pitch) for number, x in zip(operation.inputs, inputs, strict=True)]
        blocks = prod(shape[: operation.axis])
        widths = [(x.form.size // blocks,) * 2 for x in inputs]
        apart = y.form.size // blocks
    first = 0
    for x, (numbers, x_block) in zip(inputs, widths, strict=True):
        plan_copy(planning, x, y, first, blocks, numbers, x_block, apart)
        first += numbers


def _like_pitch(planning: Planning, number: int, x: Tensor, pitch: int) -> Tensor:
    """The tensor with this pitch, copied where it has another."""
    return x if x.form.pitch == pitch else aligned(planning, number, anew=True)


def plan_pad(planning: Planning, operation: Pad) -> None:
    """Zeros around a map."""
    x = aligned(planning, operation.inputs[0])
    (above, _), (left, _) = operation.padding
    shape = planning.network.shapes[operation.output]
    *_, rows, columns, channels = (1, *shape)
    form = Form(shape, rows * columns, channels, x.form.pitch)
    y = planning.new(operation.output, form, bordered=True)
    height = (1, *x.form.shape)[-3]
    common: dict[str, Given] = {
        "rows": height,
        "row": x.form.size // height,
        "above": above,
        "left": left * x.form.pitch,
        "y_rows": rows,
        "y_row": columns * x.form.pitch,
    }
    planning.add_forward(moves.border(lanes=planning.target.lanes), x=x.values, y=y.values, **common)

    def backward() -> None:
        if x.gradient is not None and y.gradient is not None and y.arrived:
            planning.add_backward(
                moves.unborder(lanes=planning.target.lanes, add=x.arrived), dy=y.gradient, dx=x.gradient, **common
            )
            x.arrived = True

    planning.later(backward)


def plan_up_sample(planning: Planning, operation: UpSample) -> None:
    """Each pixel several times: the mean over a window of one pixel."""
    x = aligned(planning, operation.inputs[0])
    shape = planning.network.shapes[operation.output]
    *_, rows, columns, channels = (1, *shape)
    y = planning.new(operation.output, Form(shape, rows * columns, channels, x.form.pitch))
    i, j = np.meshgrid(np.arange(rows) // operation.size[0], np.arange(columns) // operation.size[1], indexing="ij")
    starts = np.ascontiguousarray((i * (columns // operation.size[1]) + j).ravel() * x.form.pitch, dtype=np.int64)
    shares: Float32 = np.ones(len(starts), np.float32)
    common: dict[str, Given] = {
        "starts": starts,
        "shares": shares,
        "positions": len(starts),
        "size": 1,
        "channels": x.form.pitch,
        "x_sample": x.form.size,
    }
    lanes = x.form.lanes(planning.target)
    planning.add_forward(pools.average_pool(lanes=lanes), x=x.values, y=y.values, **common)

    def backward() -> None:
        if x.gradient is not None and y.gradient is not None and y.arrived:
            planning.add_backward(
                pools.average_pool_gradient(lanes=lanes, add=x.arrived), dy=y.gradient, dx=x.gradient, **common
            )
            x.arrived = True

    planning.later(backward)


def plan_rescale(planning: Planning, operation: Rescale) -> None:
    """``x * scale + offset``; of the samples themselves this is done when they are taken out of the data."""
    x = planning.tensors[operation.inputs[0]]
    y = like(planning, operation.output, x)
    keep = floats(x.form.pitch)
    keep[: x.form.channels] = 1.0
    planning.add_forward(
        elementwise.rescale(lanes=x.form.lanes(planning.target)),
        x=x.values,
        y=y.values,
        keep=keep,
        size=x.form.size,
        channels=x.form.pitch,
        scale=float(operation.scale),
        offset=float(operation.offset),
    )

    def backward() -> None:
        if x.gradient is not None and y.gradient is not None and y.arrived:
            planning.add_backward(
                elementwise.copy(lanes=x.form.flat_lanes(planning.target), add=x.arrived),
                x=y.gradient,
                y=x.gradient,
                size=x.form.size,
                factor=float(operation.scale),
            )
            x.arrived = True

    planning.later(backward)


def plan_embedding(planning: Planning, operation: Embedding) -> None:
    """Rows of a table."""
    x = planning.tensors[operation.inputs[0]]
    y = planning.padded(operation.output)
    channels = y.form.pitch
    table = planning.pack(operation.table, (planning.network.weights[operation.table].shape[0], channels))
    lanes = y.form.lanes(planning.target)
    common: dict[str, Given] = {"x": x.values, "places_of_sample": y.form.blocks, "channels": channels}
    planning.add_forward(moves.look_up(lanes=lanes), **common, table=table.values, y=y.values)

    def backward() -> None:
        if y.gradient is not None and y.arrived and planning.network.weights[operation.table].trained:
            planning.add_backward(
                moves.look_up_gradient(lanes=lanes),
                **common,
                dy=y.gradient,
                gradient=table.gradient,
                gradient_thread=table.size,
            )
            planning.train(operation.table)

    planning.later(backward)
