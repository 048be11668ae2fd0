"""Convolutions, with a relu and a 2x2 max-pool that follow."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.code import Given
from epochwise.engine.forms import Form
from epochwise.engine.kernels import gradients, moves, products
from epochwise.engine.network import BatchNormalization, Convolution, Float32, Pair
from epochwise.engine.plan import floats
from epochwise.engine.stages import winograd
from epochwise.engine.stages.alike import FEW_TAPS, PICKED, convolution_gradient_rows
from epochwise.engine.stages.borders import Bordered, border, clear_target, frame, hand_on
from epochwise.engine.stages.copies import aligned
from epochwise.engine.stages.planning import Planning, Tensor
from epochwise.engine.stages.windows import Window, output_size, tap_tile

_AXES = ("rows", "columns", "channels", "filters")
"""Of a kernel; a 1-D one has no rows."""

_MORE_PIXELS = 1.4
"""Pixels for each position up to which the gradient of the input is a convolution; above, it is scattered."""

_SPARE_REGISTERS = 7
"""Vector registers left free where a tile of taps fills the others."""


@dataclass(slots=True)
class _Convolution:
    """A convolution that is being planned.

    Attributes:
        planning, operation: where and what.
        x, source, y: its input, the same with a border, and its output.
        window: where its windows lie.
        kernel, out: rows and columns of the kernel and of the output.
        channels, filters: of one group, with padding; ``real_channels, real_filters`` without.
        depthwise: whether the kernel has its groups where others have their channels.
    """

    planning: Planning
    operation: Convolution
    x: Tensor
    source: Bordered
    y: Tensor
    window: Window
    kernel: Pair
    out: Pair
    channels: int
    filters: int
    real_channels: int
    real_filters: int
    depthwise: bool

    @property
    def taps(self) -> int:
        return len(self.window.taps)

    @property
    def steps(self) -> Pair:
        """Floats from one position to the next, down and across."""
        down, across = self.operation.strides
        return down * self.source.form.shape[1] * self.source.form.pitch, across * self.source.form.pitch

    @property
    def groups(self) -> int:
        return self.operation.groups

    @property
    def split(self) -> tuple[int, ...]:
        """Keras's shape of the kernel with taps in one, and groups and filters apart."""
        middle = (self.groups, 1) if self.depthwise else (self.real_channels, self.groups)
        return (self.taps, *middle, self.real_filters)

    @property
    def of_points(self) -> bool:
        """Whether maps are single points, as after global pooling: then each group is a dense layer."""
        return self.source.form.blocks == 1

    @property
    def is_plain_3x3(self) -> bool:
        """Whether it may be done by Winograd's algorithm."""
        plain = self.groups == 1 and self.operation.strides == self.operation.dilation == (1, 1)
        alone = [getattr(other, "kernel", None) for other in self.planning.network.operations].count(self.operation.kernel) == 1
        return plain and alone and winograd.fits(self.planning, self.kernel, self.source.form, self.y.form)

    def maps(self, y: Float32) -> winograd.Maps:
        """Its input with a border, and its output or the gradient of that."""
        return winograd.Maps(self.source.values, self.source.form, y, self.y.form)

    def axes(self, order: str) -> tuple[int, ...]:
        """Axes of ``split`` in this order: g(roups), t(aps), c(hannels), f(ilters)."""
        split = "tgcf" if self.depthwise else "tcgf"
        return tuple(split.index(letter) for letter in order)


def plan_convolution(
    planning: Planning, operation: Convolution, output: int, relu: bool, pooled: bool, depthwise: bool = False
) -> None:
    """Plan a convolution, and relu and 2x2 max-pooling of it where told to; ``output`` is the last tensor of them.

    Weights lie as ``(taps, channels, filters)``, without the padding of channels, which is not read. Where the gradient of a
    pooled one is scattered, they and their gradient lie turned, ``(filters, taps, channels)``; the forward pass reads the other
    form. Groups are convolutions of their own, one after another, and lie as ``(groups, taps, channels, filters)``. Where maps
    are single points, it is the samples of the batch that share what is loaded of a kernel.

    A ``depthwise`` one has a kernel ``(rows, columns, groups, filters)``, of one channel for each group.
    """
    x = aligned(planning, operation.inputs[0])
    y = planning.padded(output)
    shape = planning.network.weights[operation.kernel].shape
    *size, channels, filters = (1, *shape)[-len(_AXES) :]
    channels, filters = (1, filters) if depthwise else (channels, filters // operation.groups)
    source = border(planning, x, operation.padding)
    kernel = (size[0], size[1])
    out = output_size(source.form, kernel, operation.strides, operation.dilation)
    pitch = source.form.pitch
    real = (channels, filters)
    if operation.groups == 1:
        channels, filters = pitch, y.form.pitch
    window = Window(source.form.shape[1] * pitch, pitch, real[0], kernel, out, operation.strides, operation.dilation)
    planned = _Convolution(planning, operation, x, source, y, window, kernel, out, channels, filters, *real, depthwise)
    if pooled:
        _plan_pooled(planned, relu)
    else:
        _plan_plain(planned, relu)


# Without pooling


def _plan_plain(c: _Convolution, relu: bool) -> None:
    planning, operation, y, window = c.planning, c.operation, c.y, c.window
    kernel = planning.pack(
        operation.kernel,
        (c.groups, c.taps, c.real_channels, c.filters),
        axes=c.axes("gtcf"),
        split=c.split,
        copied=not c.is_plain_3x3,
    )
    bias = planning.bias(operation.bias, y.form.pitch)
    lanes = _lanes(c, c.filters)
    vectors, positions = planning.tile(c.filters // lanes, prod(c.out))
    for group in range(c.groups):
        given: dict[str, Given] = {
            "x": _from(c.source.values, group * c.channels),
            "weights": _from(kernel.values, group * c.taps * c.real_channels * c.filters),
            "bias": _from(bias, group * c.filters),
            "y": _from(y.values, group * c.filters),
            "outputs": c.filters,
        }
        if _is_winograd(c, relu):
            weights = winograd.transformed(planning, kernel, c.real_channels, c.filters, predicting=True)
            call = winograd.convolution_call(planning, c.maps(y.values), weights, bias, c.real_channels, add=False)
            planning.add_forward(call.variant, **call.given)
            continue
        if c.of_points:
            planning.add_forward(
                products.dense(lanes=lanes, rows=positions, vectors=vectors, relu=relu, add=False),
                **given,
                inputs=c.real_channels,
                x_row=c.source.form.size,
                y_row=y.form.size,
                rows_of_sample=1,
            )
            continue
        planning.add_forward(
            products.convolution(lanes=lanes, positions=positions, vectors=vectors, relu=relu, add=False),
            **given,
            starts=window.starts,
            positions_in_all=prod(c.out),
            inputs=window.inputs,
            inputs_in_all=len(window.inputs),
            x_sample=c.source.form.size,
            y_sample=y.form.size,
            y_position=y.form.pitch,
        )
    planning.later(lambda: _plain_backward(c, relu))


def _is_winograd(c: _Convolution, relu: bool) -> bool:
    """Whether the forward pass is done by Winograd's algorithm: not where what should be zero may be rounding before a relu."""
    if relu or not c.is_plain_3x3:
        return False
    readers = [other for other in c.planning.network.operations if c.operation.output in other.inputs]
    return bool(readers) and all(isinstance(reader, BatchNormalization) for reader in readers)


def _lanes(c: _Convolution, numbers: int) -> int:
    return next(lanes for lanes in (16, 8, 4, 2, 1) if lanes <= c.planning.target.lanes and numbers % lanes == 0)


def _from(array: Float32, first: int) -> Float32:
    """The same memory from a later number on."""
    return array.reshape(-1)[first:]


def _plain_backward(c: _Convolution, relu: bool) -> None:
    planning, operation, y = c.planning, c.operation, c.y
    if y.gradient is None or not y.arrived:
        return
    if relu:
        planning.add_relu_gradient(y)
    planning.add_bias_gradient(operation.bias, y)
    if planning.network.weights[operation.kernel].trained and c.is_plain_3x3:
        winograd.add_gradient(planning, c.maps(y.gradient), planning.weights[operation.kernel], c.real_channels)
        planning.train(operation.kernel, copied=False)
    elif planning.network.weights[operation.kernel].trained:
        kernel = planning.weights[operation.kernel]
        lanes = _lanes(c, c.filters)
        vectors, _ = planning.tile(c.filters // lanes, prod(c.out))
        tile = {"lanes": lanes, "rows": min(convolution_gradient_rows(vectors), len(c.window.inputs)), "vectors": vectors}
        for group in range(c.groups):
            given: dict[str, Given] = {
                "x": _from(c.source.values, group * c.channels),
                "dy": _from(y.gradient, group * c.filters),
                "gradient": _from(kernel.gradient, group * c.taps * c.real_channels * c.filters),
                "inputs_in_all": len(c.window.inputs),
                "x_sample": c.source.form.size,
                "dy_sample": y.form.size,
                "outputs": c.filters,
                "gradient_thread": kernel.size,
            }
            if c.of_points:
                planning.add_backward(gradients.point_gradient(**tile), **given)
                continue
            planning.add_backward(
                gradients.convolution_gradient(**tile),
                **given,
                starts=c.window.starts,
                positions_in_all=prod(c.out),
                inputs=c.window.inputs,
                dy_position=y.form.pitch,
            )
        planning.train(operation.kernel)
    if c.x.gradient is not None:
        if c.of_points:
            _input_gradient_of_points(c)
        elif c.groups == 1 and operation.strides == (1, 1) and _fits_inside(c) and _nearly_as_large(c):
            _input_gradient_by_convolution(c)
        else:
            _input_gradient_by_scattering(c)
        c.x.arrived = True


def _reach(c: _Convolution) -> Pair:
    """Pixels from the first to the last tap, down and across."""
    return (c.kernel[0] - 1) * c.operation.dilation[0], (c.kernel[1] - 1) * c.operation.dilation[1]


def _fits_inside(c: _Convolution) -> bool:
    """Whether the border is no wider than the kernel reaches, as that of "same" never is."""
    return all(max(sides) <= reach for sides, reach in zip(c.operation.padding, _reach(c), strict=True))


def _nearly_as_large(c: _Convolution) -> bool:
    """Whether there are nearly as many positions as pixels: otherwise most of a convolution back would be of zeros."""
    pixels = c.x.form.blocks
    return pixels <= _MORE_PIXELS * prod(c.out)


def _input_gradient_by_convolution(c: _Convolution) -> None:
    """The gradient with a border, convolved with the mirrored kernel, gives that of the input without its border."""
    planning, operation, x, y = c.planning, c.operation, c.x, c.y
    assert x.gradient is not None
    assert y.gradient is not None
    (above, below), (left, right) = (
        (reach - first, reach - last) for reach, (first, last) in zip(_reach(c), operation.padding, strict=True)
    )
    pitch = y.form.pitch
    rows, columns = c.out[0] + above + below, c.out[1] + left + right
    form = Form((rows, columns, y.form.channels), rows * columns, y.form.channels, pitch)
    arriving = y.gradient
    if any((above, below, left, right)):
        arriving = floats(planning.batch, form.size)
        planning.add_backward(
            moves.border(lanes=planning.target.lanes),
            x=y.gradient,
            y=arriving,
            **frame(y.form, form, c.out[0], above, left),
        )
    *_, height, width, _ = (1, *x.form.shape)
    window = Window(columns * pitch, pitch, c.real_filters, c.kernel, (height, width), (1, 1), operation.dilation)
    turned = planning.twin(operation.kernel, (c.taps, 1, c.real_filters, x.form.pitch), c.axes("tgfc"), mirrored=1)
    if c.is_plain_3x3 and winograd.fits(planning, c.kernel, form, x.form):
        weights = winograd.transformed(planning, turned, c.real_filters, x.form.pitch, predicting=False)
        maps = winograd.Maps(arriving, form, x.gradient, x.form)
        call = winograd.convolution_call(planning, maps, weights, planning.zeros(x.form.pitch), c.real_filters, add=x.arrived)
        planning.add_backward(call.variant, **call.given)
        return
    lanes = x.form.lanes(planning.target)
    vectors, positions = planning.tile(x.form.pitch // lanes, height * width)
    planning.add_backward(
        products.convolution(lanes=lanes, positions=positions, vectors=vectors, relu=False, add=x.arrived),
        x=arriving,
        weights=turned.values,
        bias=planning.zeros(x.form.pitch),
        y=x.gradient,
        starts=window.starts,
        positions_in_all=height * width,
        inputs=window.inputs,
        inputs_in_all=len(window.inputs),
        x_sample=form.size,
        y_sample=x.form.size,
        y_position=x.form.pitch,
        outputs=x.form.pitch,
    )


def _input_gradient_of_points(c: _Convolution) -> None:
    planning, x, y = c.planning, c.x, c.y
    assert x.gradient is not None
    assert y.gradient is not None
    turned = planning.twin(c.operation.kernel, (c.groups, c.filters, c.taps, c.channels), c.axes("gftc"))
    lanes = _lanes(c, c.channels)
    vectors, positions = planning.tile(c.channels // lanes, 1)
    for group in range(c.groups):
        planning.add_backward(
            products.dense(lanes=lanes, rows=positions, vectors=vectors, relu=False, add=x.arrived),
            x=_from(y.gradient, group * c.filters),
            weights=_from(turned.values, group * c.filters * c.channels),
            bias=planning.zeros(c.channels),
            y=_from(x.gradient, group * c.channels),
            inputs=c.real_filters,
            outputs=c.channels,
            x_row=y.form.size,
            y_row=x.form.size,
            rows_of_sample=1,
        )


def _input_gradient_by_scattering(c: _Convolution) -> None:
    planning, operation, y = c.planning, c.operation, c.y
    assert y.gradient is not None
    target = clear_target(planning, c.x, c.source)
    turned = planning.twin(operation.kernel, (c.groups, c.filters, c.taps, c.channels), c.axes("gftc"))
    lanes = _lanes(c, c.channels)
    most = planning.target.registers - _SPARE_REGISTERS
    for group in range(c.groups):
        planning.add_backward(
            gradients.convolution_input_gradient(lanes=lanes, tile=tap_tile(c.taps, most), alone=c.channels == lanes),
            dx=_from(target, group * c.channels),
            weights=_from(turned.values, group * c.filters * c.taps * c.channels),
            dy=_from(y.gradient, group * c.filters),
            starts=c.window.starts,
            positions_in_all=prod(c.out),
            taps=c.window.taps,
            taps_in_all=c.taps,
            channels=c.channels,
            filters=c.real_filters,
            x_sample=c.source.form.size,
            dy_sample=y.form.size,
            dy_position=y.form.pitch,
        )
    hand_on(planning, c.x, c.source, target, operation.padding)


# With pooling


def _plan_pooled(c: _Convolution, relu: bool) -> None:
    planning, operation, x, y, window = c.planning, c.operation, c.x, c.y, c.window
    scattered = x.gradient is not None or x.form.channels >= x.form.lanes(planning.target) > 1
    plain = (1, c.taps, c.real_channels, c.filters)
    if scattered:
        planning.pack(operation.kernel, (1, c.filters, c.taps, c.channels), axes=c.axes("gftc"), split=c.split)
        weights = planning.twin(operation.kernel, plain, c.axes("gtcf"))
    else:
        weights = planning.pack(operation.kernel, plain, axes=c.axes("gtcf"), split=c.split)
    winners = floats(planning.batch, y.form.size)
    lanes = y.form.lanes(planning.target)
    starts = window.by_pooled_windows()
    planning.add_forward(
        products.pooled_convolution(lanes=lanes, windows=2, vectors=1, relu=relu),
        x=c.source.values,
        weights=weights.values,
        bias=planning.bias(operation.bias, y.form.pitch),
        y=y.values,
        winners=winners,
        starts=starts,
        windows_in_all=y.form.blocks,
        inputs=window.inputs,
        inputs_in_all=len(window.inputs),
        x_sample=c.source.form.size,
        y_sample=y.form.size,
        outputs=y.form.pitch,
    )
    planning.later(lambda: _pooled_backward(c, winners, starts, scattered))


def _pooled_backward(c: _Convolution, winners: Float32, starts: NDArray[np.int64], scattered: bool) -> None:
    planning, operation, y = c.planning, c.operation, c.y
    if y.gradient is None or not y.arrived:
        return
    kernel = planning.weights[operation.kernel]
    bias = planning.weights[operation.bias].gradient if operation.bias is not None else np.zeros(0, np.float32)
    spare = floats(planning.threads, max(kernel.size, y.form.pitch))  # for gradients that nobody wants
    common: dict[str, Given] = {
        "x": c.source.values,
        "dy": y.gradient,
        "winners": winners,
        "gradient": kernel.gradient if kernel.gradient.size else spare,
        "bias_gradient": bias if bias.size else spare,
        "starts": starts,
        "windows_in_all": y.form.blocks,
        "x_sample": c.source.form.size,
        "dy_sample": y.form.size,
        "outputs": y.form.pitch,
        "gradient_thread": kernel.size,
        "bias_thread": y.form.pitch,
    }
    if scattered:
        into_input = c.x.gradient is not None
        target = clear_target(planning, c.x, c.source) if into_input else c.source.values
        planning.add_backward(
            gradients.pooled_gradient_scattered(
                lanes=c.source.form.lanes(planning.target), tile=tap_tile(c.taps), into_input=into_input
            ),
            **common,
            dx=target,
            weights=kernel.values,
            taps=c.window.taps,
            taps_in_all=c.taps,
            channels=c.channels,
            filters=y.form.channels,
            live=np.zeros((planning.threads, y.form.blocks + 8), np.int64),
            live_gradients=floats(planning.threads, y.form.blocks + 8),
            live_thread=y.form.blocks + 8,
        )
        if into_input:
            hand_on(planning, c.x, c.source, target, operation.padding)
            c.x.arrived = True
    elif reach := _picks(c):
        planning.add_backward(
            gradients.pooled_gradient_picked(lanes=y.form.lanes(planning.target), reach=reach),
            **common,
            runs=c.window.runs,
            runs_in_all=len(c.window.runs),
            run=c.window.run,
            down=c.steps[0],
            across=c.steps[1],
        )
    else:
        planning.add_backward(
            gradients.pooled_gradient_masked(lanes=y.form.lanes(planning.target), rows=min(FEW_TAPS, len(c.window.inputs))),
            **common,
            inputs=c.window.inputs,
            inputs_in_all=len(c.window.inputs),
        )
    for number in (operation.kernel, operation.bias):
        if number is not None:
            planning.train(number)


def _picks(c: _Convolution) -> int:
    """How many floats of a run are read at once, if lanes can pick what they need out of them; else 0."""
    lanes = c.y.form.lanes(c.planning.target)
    needed = c.steps[1] + gradients.PICKED_NUMBERS
    return next((reach for reach in PICKED if needed <= reach <= lanes // 2), 0)
