"""Depthwise convolutions, with a relu that follows."""

from __future__ import annotations

from math import prod

from epochwise.engine.code import Given
from epochwise.engine.kernels import depthwise as kernels
from epochwise.engine.network import Convolution, DepthwiseConvolution
from epochwise.engine.stages.borders import Bordered, border, clear_target, hand_on
from epochwise.engine.stages.convolution import plan_convolution
from epochwise.engine.stages.copies import aligned
from epochwise.engine.stages.planning import Planning, Tensor
from epochwise.engine.stages.windows import Window, output_size, tap_tile

_POSITIONS = 4


def plan_depthwise(planning: Planning, operation: DepthwiseConvolution, output: int, relu: bool) -> None:
    """With one filter for each channel; with several it is a convolution with a group for each channel."""
    shape = planning.network.weights[operation.kernel].shape
    rows, columns, channels, each = (1, *shape)[-4:]
    if each > 1:
        grouped = Convolution(
            layer=operation.layer,
            inputs=operation.inputs,
            output=operation.output,
            kernel=operation.kernel,
            bias=operation.bias,
            strides=operation.strides,
            dilation=operation.dilation,
            padding=operation.padding,
            groups=channels,
        )
        plan_convolution(planning, grouped, output, relu, pooled=False, depthwise=True)
        return
    x = aligned(planning, operation.inputs[0])
    y = planning.new(output, planning.form_like(output, x.form.pitch))
    source = border(planning, x, operation.padding)
    out = output_size(source.form, (rows, columns), operation.strides, operation.dilation)
    pitch = x.form.pitch
    window = Window(source.form.shape[1] * pitch, pitch, pitch, (rows, columns), out, operation.strides, operation.dilation)
    kernel = planning.pack(operation.kernel, (rows * columns, pitch), split=(rows * columns, channels))
    lanes = x.form.lanes(planning.target)
    common: dict[str, Given] = {
        "starts": window.starts,
        "positions_in_all": prod(out),
        "taps": window.taps,
        "taps_in_all": len(window.taps),
        "channels": pitch,
        "x_sample": source.form.size,
    }
    planning.add_forward(
        kernels.depthwise(lanes=lanes, positions=_POSITIONS, relu=relu),
        **common,
        x=source.values,
        weights=kernel.values,
        bias=planning.bias(operation.bias, pitch),
        y=y.values,
    )
    planning.later(lambda: _backward(planning, operation, x, source, y, relu, common))


def _backward(
    planning: Planning,
    operation: DepthwiseConvolution,
    x: Tensor,
    source: Bordered,
    y: Tensor,
    relu: bool,
    common: dict[str, Given],
) -> None:
    if y.gradient is None or not y.arrived:
        return
    if relu:
        planning.add_relu_gradient(y)
    planning.add_bias_gradient(operation.bias, y)
    lanes = x.form.lanes(planning.target)
    kernel = planning.weights[operation.kernel]
    tile = tap_tile(kernel.split[0])
    if planning.network.weights[operation.kernel].trained:
        planning.add_backward(
            kernels.depthwise_gradient(lanes=lanes, tile=tile),
            **common,
            x=source.values,
            dy=y.gradient,
            gradient=kernel.gradient,
            gradient_thread=kernel.size,
        )
        planning.train(operation.kernel)
    if x.gradient is not None:
        target = clear_target(planning, x, source)
        planning.add_backward(
            kernels.depthwise_input_gradient(lanes=lanes, tile=tile),
            **common,
            dx=target,
            weights=kernel.values,
            dy=y.gradient,
        )
        hand_on(planning, x, source, target, operation.padding)
        x.arrived = True
