"""Convolutions, with a relu and a 2x2 max-pool that follow."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.forms import Form
from epochwise.engine.kernels import elementwise, gradients, moves, products
from epochwise.engine.network import Convolution, Float32, Pair, Sides
from epochwise.engine.plan import floats
from epochwise.engine.stages.planning import Planning, Tensor

_MOST_TAPS = 9
"""Taps whose gradients are kept in registers at once."""


class Window:
    """Where the numbers of each window lie in a map.

    Attributes:
        starts: ``(rows, columns)``: where each position's window begins, in floats from the sample's beginning.
        taps: where each tap's channels begin, from the window's beginning.
        runs, run: where each run of numbers side by side begins, and its length.
        inputs: where each number of the window lies.
    """

    def __init__(self, line: int, pitch: int, channels: int, kernel: Pair, out: Pair, strides: Pair, dilation: Pair) -> None:
        """Of maps with ``line`` floats in a row and ``pitch`` in a pixel, of which ``channels`` are read."""
        i, j = np.meshgrid(np.arange(out[0]) * strides[0], np.arange(out[1]) * strides[1], indexing="ij")
        self.starts: NDArray[np.int64] = (i * line + j * pitch).astype(np.int64)
        u, v = np.meshgrid(np.arange(kernel[0]) * dilation[0], np.arange(kernel[1]) * dilation[1], indexing="ij")
        self.taps: NDArray[np.int64] = (u * line + v * pitch).ravel().astype(np.int64)
        together = dilation[1] == 1 and channels == pitch
        self.runs = self.taps[:: kernel[1]].copy() if together else self.taps
        self.run = kernel[1] * pitch if together else channels
        self.inputs: NDArray[np.int64] = (self.taps[:, None] + np.arange(channels)).ravel()

    def by_pooled_windows(self) -> NDArray[np.int64]:
        """``starts`` with the four positions of each 2x2 window together, and one number more."""
        rows, columns = (size // 2 for size in self.starts.shape)
        four = self.starts[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3)
        return np.append(four.ravel(), 0)


@dataclass(slots=True)
class _Bordered:
    """Maps with a border of zeros: where a convolution reads its input, and where the gradient of it is put together."""

    form: Form
    values: Float32
    gradient: Float32 | None


@dataclass(slots=True)
class _Convolution:
    """A convolution that is being planned."""

    planning: Planning
    operation: Convolution
    x: Tensor
    source: _Bordered
    y: Tensor
    window: Window
    out: Pair
    filters: int
    channels: int

    @property
    def taps(self) -> int:
        return len(self.window.taps)

    @property
    def groups(self) -> int:
        return self.operation.groups


def plan_convolution(planning: Planning, operation: Convolution, output: int, relu: bool, pooled: bool) -> None:
    """Plan a convolution, and relu and 2x2 max-pooling of it where told to; ``output`` is the last tensor of them.

    Weights lie as ``(taps, channels, filters)``. Where the gradient of a pooled one is scattered, they and their gradient lie
    turned, ``(filters, taps, channels)``, and what the forward pass reads is the other form. Groups are convolutions of their own,
    one after another, and lie as ``(groups, taps, channels, filters)``.
    """
    x = planning.tensors[operation.inputs[0]]
    y = planning.padded(output)
    kernel = planning.network.weights[operation.kernel].shape
    source = _border(planning, x, operation.padding)
    height, width, _ = source.form.shape
    out = tuple(
        (size - gap * (taps - 1) - 1) // stride + 1
        for size, gap, taps, stride in zip((height, width), operation.dilation, kernel[:2], operation.strides, strict=True)
    )
    pitch = source.form.pitch
    channels = pitch if operation.groups == 1 else kernel[2]
    filters = y.form.pitch if operation.groups == 1 else kernel[3] // operation.groups
    window = Window(width * pitch, pitch, channels, kernel[:2], out, operation.strides, operation.dilation)
    planned = _Convolution(planning, operation, x, source, y, window, out, filters, channels)
    if pooled:
        _plan_pooled(planned, relu)
    else:
        _plan_plain(planned, relu)


def _border(planning: Planning, x: Tensor, padding: Sides) -> _Bordered:
    (above, below), (left, right) = padding
    *_, height, width, channels = (1, *x.form.shape)
    if not any((above, below, left, right)):
        return _Bordered(Form((height, width, channels), height * width, channels, x.form.pitch), x.values, x.gradient)
    rows, columns = height + above + below, width + left + right
    form = Form((rows, columns, channels), rows * columns, channels, x.form.pitch)
    source = _Bordered(form, floats(planning.batch, form.size), None if x.gradient is None else floats(planning.batch, form.size))
    planning.add_forward(
        moves.border(lanes=planning.target.lanes),
        x=x.values,
        y=source.values,
        **_frame(x.form, form, height, above, left),
    )
    return source


def _frame(inner: Form, outer: Form, rows: int, above: int, left: int) -> dict[str, int]:
    return {
        "rows": rows,
        "row": inner.size // rows,
        "above": above,
        "left": left * inner.pitch,
        "y_rows": outer.shape[0],
        "y_row": outer.shape[1] * inner.pitch,
    }


# Without pooling


def _plan_plain(c: _Convolution, relu: bool) -> None:
    planning, operation, y, window = c.planning, c.operation, c.y, c.window
    kernel = planning.pack(
        operation.kernel,
        (c.groups, c.taps, c.channels, c.filters),
        axes=(2, 0, 1, 3),
        split=(c.taps, _real_channels(c), c.groups, _real_filters(c)),
    )
    bias = planning.bias(operation.bias, y.form.pitch)
    lanes = _lanes(c, c.filters)
    vectors, positions = planning.tile(c.filters // lanes, prod(c.out))
    for group in range(c.groups):
        planning.add_forward(
            products.convolution(lanes=lanes, positions=positions, vectors=vectors, relu=relu, add=False),
            x=_from(c.source.values, group * c.channels),
            weights=_from(kernel.values, group * c.taps * c.channels * c.filters),
            bias=_from(bias, group * c.filters),
            y=_from(y.values, group * c.filters),
            starts=window.starts,
            positions_in_all=prod(c.out),
            runs=window.runs,
            runs_in_all=len(window.runs),
            run=window.run,
            x_sample=c.source.form.size,
            y_sample=y.form.size,
            y_position=y.form.pitch,
            outputs=c.filters,
        )
    if y.gradient is not None:
        planning.later(lambda: _plain_backward(c, relu))


def _real_channels(c: _Convolution) -> int:
    return c.planning.network.weights[c.operation.kernel].shape[2]


def _real_filters(c: _Convolution) -> int:
    return c.planning.network.weights[c.operation.kernel].shape[3] // c.groups


def _lanes(c: _Convolution, numbers: int) -> int:
    return next(lanes for lanes in (16, 8, 4, 2, 1) if lanes <= c.planning.target.lanes and numbers % lanes == 0)


def _from(array: Float32, first: int) -> Float32:
    """The same memory from a later number on."""
    return array.reshape(-1)[first:]


def _plain_backward(c: _Convolution, relu: bool) -> None:
    planning, operation, y = c.planning, c.operation, c.y
    assert y.gradient is not None
    if relu:
        planning.add_relu_gradient(y)
    planning.add_bias_gradient(operation.bias, y)
    if planning.network.weights[operation.kernel].trained:
        kernel = planning.weights[operation.kernel]
        lanes = _lanes(c, c.filters)
        vectors, _ = planning.tile(c.filters // lanes, prod(c.out))
        rows = min(8 if vectors < 4 else 6, len(c.window.inputs))
        for group in range(c.groups):
            planning.add_backward(
                gradients.convolution_gradient(lanes=lanes, rows=rows, vectors=vectors),
                x=_from(c.source.values, group * c.channels),
                dy=_from(y.gradient, group * c.filters),
                gradient=_from(kernel.gradient, group * c.taps * c.channels * c.filters),
                starts=c.window.starts,
                positions_in_all=prod(c.out),
                inputs=c.window.inputs,
                inputs_in_all=len(c.window.inputs),
                x_sample=c.source.form.size,
                dy_sample=y.form.size,
                dy_position=y.form.pitch,
                outputs=c.filters,
                gradient_thread=kernel.size,
            )
        planning.train(operation.kernel)
    if c.x.gradient is not None:
        if c.groups == 1 and operation.strides == (1, 1) and _fits_inside(c):
            _input_gradient_by_convolution(c)
        else:
            _input_gradient_by_scattering(c)
        c.x.arrived = True


def _reach(c: _Convolution) -> Pair:
    """Pixels from the first to the last tap, down and across."""
    rows, columns = c.planning.network.weights[c.operation.kernel].shape[:2]
    return (rows - 1) * c.operation.dilation[0], (columns - 1) * c.operation.dilation[1]


def _fits_inside(c: _Convolution) -> bool:
    """Whether the border is no wider than the kernel reaches, as that of "same" never is."""
    return all(max(sides) <= reach for sides, reach in zip(c.operation.padding, _reach(c), strict=True))


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
            **_frame(y.form, form, c.out[0], above, left),
        )
    *_, height, width, _ = (1, *x.form.shape)
    shape = planning.network.weights[operation.kernel].shape
    window = Window(columns * pitch, pitch, pitch, shape[:2], (height, width), (1, 1), operation.dilation)
    # Memory order (taps backwards, groups of 1, filters, channels).
    turned = planning.twin(operation.kernel, (c.taps, 1, pitch, x.form.pitch), (0, 2, 3, 1), mirrored=1)
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
        runs=window.runs,
        runs_in_all=len(window.runs),
        run=window.run,
        x_sample=form.size,
        y_sample=x.form.size,
        y_position=x.form.pitch,
        outputs=x.form.pitch,
    )


def _input_gradient_by_scattering(c: _Convolution) -> None:
    planning, operation, y = c.planning, c.operation, c.y
    assert y.gradient is not None
    target = _clear_target(c)
    # Memory order (groups, filters, taps, channels).
    turned = planning.twin(operation.kernel, (c.groups, c.filters, c.taps, c.channels), (2, 3, 0, 1))
    lanes = _lanes(c, c.channels)
    for group in range(c.groups):
        planning.add_backward(
            gradients.convolution_input_gradient(lanes=lanes, tile=_tap_tile(c)),
            dx=_from(target, group * c.channels),
            weights=_from(turned.values, group * c.filters * c.taps * c.channels),
            dy=_from(y.gradient, group * c.filters),
            starts=c.window.starts,
            positions_in_all=prod(c.out),
            taps=c.window.taps,
            taps_in_all=c.taps,
            channels=c.channels,
            filters=_real_filters(c),
            x_sample=c.source.form.size,
            dy_sample=y.form.size,
            dy_position=y.form.pitch,
        )
    _hand_on(c, target)


def _tap_tile(c: _Convolution) -> int:
    """Taps handled at once: a divisor of their number."""
    return max(tile for tile in range(1, _MOST_TAPS + 1) if c.taps % tile == 0)


def _clear_target(c: _Convolution) -> Float32:
    """Where the gradient of the input is added up, cleared: with its border, or the input's own if there is nothing yet."""
    assert c.source.gradient is not None
    target = c.source.gradient
    if target is c.x.gradient and c.x.arrived:
        return target
    c.planning.add_backward(elementwise.clear(lanes=c.source.form.lanes(c.planning.target)), y=target, size=c.source.form.size)
    return target


def _hand_on(c: _Convolution, target: Float32) -> None:
    """From the map with a border to the input's gradient."""
    assert c.x.gradient is not None
    if target is c.x.gradient:
        return
    (above, _), (left, _) = c.operation.padding
    height = (1, *c.x.form.shape)[-3]
    c.planning.add_backward(
        moves.unborder(lanes=c.planning.target.lanes, add=c.x.arrived),
        dy=target,
        dx=c.x.gradient,
        **_frame(c.x.form, c.source.form, height, above, left),
    )


# With pooling


def _plan_pooled(c: _Convolution, relu: bool) -> None:
    planning, operation, x, y, window = c.planning, c.operation, c.x, c.y, c.window
    scattered = x.gradient is not None or x.form.channels >= x.form.lanes(planning.target) > 1
    split = (c.taps, _real_channels(c), _real_filters(c))
    if scattered:
        planning.pack(operation.kernel, (c.filters, c.taps, c.channels), axes=(2, 0, 1), split=split)
        weights = planning.twin(operation.kernel, (c.taps, c.channels, c.filters), (0, 1, 2))
    else:
        weights = planning.pack(operation.kernel, (c.taps, c.channels, c.filters), split=split)
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
        runs=window.runs,
        runs_in_all=len(window.runs),
        run=window.run,
        x_sample=c.source.form.size,
        y_sample=y.form.size,
        outputs=y.form.pitch,
    )
    if y.gradient is not None:
        planning.later(lambda: _pooled_backward(c, winners, starts, scattered))


def _pooled_backward(c: _Convolution, winners: Float32, starts: NDArray[np.int64], scattered: bool) -> None:
    planning, operation, y = c.planning, c.operation, c.y
    assert y.gradient is not None
    kernel = planning.weights[operation.kernel]
    bias = planning.weights[operation.bias].gradient if operation.bias is not None else np.zeros(0, np.float32)
    spare = floats(planning.threads, max(kernel.size, y.form.pitch))  # for gradients that nobody wants
    common = {
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
        target = _clear_target(c) if into_input else c.source.values
        planning.add_backward(
            gradients.pooled_gradient_scattered(
                lanes=c.source.form.lanes(planning.target), tile=_tap_tile(c), into_input=into_input
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
            _hand_on(c, target)
            c.x.arrived = True
    else:
        planning.add_backward(
            gradients.pooled_gradient_masked(lanes=y.form.lanes(planning.target), rows=min(9, len(c.window.inputs))),
            **common,
            inputs=c.window.inputs,
            inputs_in_all=len(c.window.inputs),
        )
    for number in (operation.kernel, operation.bias):
        if number is not None:
            planning.train(number)
