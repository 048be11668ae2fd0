"""Keras's layers as operations of the engine: one rule per kind of layer, which names every option that it does not cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from epochwise.engine import network as net
from epochwise.engine.network import Pair, Shape, Sides
from epochwise.engine.sketch import Sketch

Rule: TypeAlias = Callable[[Any, Sequence[int], Sketch], int]
"""From a layer and the tensors that it reads to the tensor that it makes."""

layers = keras.layers
NO_SIDES: Sides = ((0, 0), (0, 0))
_MAP_AXES = 3
_RULES: dict[type, Rule] = {}
_ALIKE = {"Add": "add", "Subtract": "subtract", "Multiply": "multiply", "Maximum": "maximum", "Average": "average"}


def rule_for(layer: Any) -> Rule | None:
    """The rule of a layer's very class: a subclass may compute anything."""
    return _RULES.get(type(layer))


def covered_kinds() -> list[str]:
    """Names of all kinds of layers that there are rules for."""
    return sorted(kind.__name__ for kind in _RULES)


def _reads(*kinds: type) -> Callable[[Rule], Rule]:
    def put(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return put


def activated(function: Any, layer: Any, x: int, sketch: Sketch) -> int:
    """The tensor behind an activation function; ``x`` itself for none.

    The functions are known by identity: one of the user's own may have the same name.
    """
    activations = keras.activations
    kinds: dict[Any, tuple[net.ActivationKind, float]] = {
        activations.relu: ("relu", 0.0),
        activations.sigmoid: ("sigmoid", 0.0),
        activations.tanh: ("tanh", 0.0),
        activations.softmax: ("softmax", 0.0),
        activations.gelu: ("gelu", 0.0),
        activations.leaky_relu: ("leaky_relu", 0.2),
        activations.elu: ("elu", 1.0),
    }
    if function is None or function is activations.linear:
        return x
    if isinstance(function, keras.layers.Layer):  # Dense(10, activation=keras.layers.ReLU())
        rule = rule_for(function)
        if rule is not None:
            return rule(function, [x], sketch)
    known = next((kind for candidate, kind in kinds.items() if candidate is function), None)
    if known is None:
        name = getattr(function, "__name__", type(function).__name__)
        sketch.refuse(layer.name, f"activation {name}; covered are {', '.join(kind.__name__ for kind in kinds)}, linear")
        return x
    kind, slope = known
    return sketch.add(net.Activation, layer.name, [x], sketch.shapes[x], kind=kind, slope=slope)


def _sizes(shape: Shape) -> tuple[int, int, int]:
    """Rows, columns, channels of a map; ``L C`` is one row."""
    rows, columns, channels = (1, 1, *shape)[-_MAP_AXES:]
    return rows, columns, channels


def _pair(value: Any, rank: int) -> Pair:
    """A layer's setting for rows and columns; a 1-D layer's is for columns."""
    values = tuple(int(each) for each in value) if isinstance(value, list | tuple) else (int(value),) * rank
    return (1, values[0]) if rank == 1 else (values[0], values[1])


def _ends(length: int, size: int, stride: int, dilation: int, padding: str) -> Pair:
    """Zeros in front and behind, as all of Keras's backends place them for ``same`` (the odd one behind)."""
    span = (size - 1) * dilation + 1
    if padding == "causal":
        return span - 1, 0
    if padding == "valid":
        return 0, 0
    missing = max(0, (-(-length // stride) - 1) * stride + span - length)
    return missing // 2, missing - missing // 2


def _windowed(shape: Shape, size: Pair, strides: Pair, dilation: Pair, padding: str) -> tuple[Sides, Shape]:
    """Padding, and the shape without channels of what a window makes of a map."""
    lengths = _sizes(shape)[:2]
    if len(shape) < _MAP_AXES:
        rows: Pair = (0, 0)
    else:
        rows = _ends(lengths[0], size[0], strides[0], dilation[0], padding)
    sides = (rows, _ends(lengths[1], size[1], strides[1], dilation[1], padding))
    counts = tuple(
        (length + sum(ends) - ((taps - 1) * step + 1)) // stride + 1
        for length, ends, taps, stride, step in zip(lengths, sides, size, strides, dilation, strict=True)
    )
    return sides, counts[-(len(shape) - 1) :]


def _channels_last(layer: Any, sketch: Sketch) -> bool:
    return sketch.need(layer.data_format == "channels_last", layer.name, f"data_format {layer.data_format!r}")


def _given_up(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    """A tensor to go on with after a refusal, so that the layers behind are looked at as well."""
    return inputs[0]


@_reads(layers.Conv1D, layers.Conv2D)
def _convolution(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    if not _channels_last(layer, sketch):
        return _given_up(layer, inputs, sketch)
    x = inputs[0]
    size, strides, dilation = (_pair(v, layer.rank) for v in (layer.kernel_size, layer.strides, layer.dilation_rate))
    sides, counts = _windowed(sketch.shapes[x], size, strides, dilation, layer.padding)
    options = {"strides": strides, "dilation": dilation, "padding": sides, "groups": int(layer.groups)}
    weights = {"kernel": sketch.place(layer.kernel), "bias": sketch.maybe(layer.bias)}
    y = sketch.add(net.Convolution, layer.name, [x], (*counts, int(layer.filters)), **weights, **options)
    return activated(layer.activation, layer, y, sketch)


@_reads(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def _depthwise(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    if not _channels_last(layer, sketch):
        return _given_up(layer, inputs, sketch)
    y = _depthwise_part(layer, inputs[0], layer.kernel, layer.bias, sketch)
    return activated(layer.activation, layer, y, sketch)


def _depthwise_part(layer: Any, x: int, kernel: Any, bias: Any, sketch: Sketch) -> int:
    shape = sketch.shapes[x]
    size, strides, dilation = (_pair(v, layer.rank) for v in (layer.kernel_size, layer.strides, layer.dilation_rate))
    sides, counts = _windowed(shape, size, strides, dilation, layer.padding)
    made = (*counts, shape[-1] * int(layer.depth_multiplier))
    options = {"strides": strides, "dilation": dilation, "padding": sides}
    weights = {"kernel": sketch.place(kernel), "bias": sketch.maybe(bias)}
    return sketch.add(net.DepthwiseConvolution, layer.name, [x], made, **weights, **options)


@_reads(layers.SeparableConv1D, layers.SeparableConv2D)
def _separable(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    if not _channels_last(layer, sketch):
        return _given_up(layer, inputs, sketch)
    deep = _depthwise_part(layer, inputs[0], layer.depthwise_kernel, None, sketch)
    weights = {"kernel": sketch.place(layer.pointwise_kernel), "bias": sketch.maybe(layer.bias)}
    shape = (*sketch.shapes[deep][:-1], int(layer.filters))
    y = sketch.add(net.Convolution, layer.name, [deep], shape, **weights)
    return activated(layer.activation, layer, y, sketch)


@_reads(layers.Dense)
def _dense(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    shape = (*sketch.shapes[inputs[0]][:-1], int(layer.units))
    weights = {"kernel": sketch.place(layer.kernel), "bias": sketch.maybe(layer.bias)}
    y = sketch.add(net.Dense, layer.name, inputs, shape, **weights)
    return activated(layer.activation, layer, y, sketch)


@_reads(layers.MaxPooling1D, layers.MaxPooling2D, layers.AveragePooling1D, layers.AveragePooling2D)
def _pool(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    if not _channels_last(layer, sketch):
        return _given_up(layer, inputs, sketch)
    shape, rank = sketch.shapes[inputs[0]], len(layer.pool_size)
    size, strides = _pair(layer.pool_size, rank), _pair(layer.strides, rank)
    sides, counts = _windowed(shape, size, strides, (1, 1), layer.padding)
    kind = net.MaxPool if layer.pool_mode == "max" else net.AveragePool
    if kind is net.AveragePool and keras.backend.backend() == "torch" and any(front != behind for front, behind in sides):
        sketch.refuse(layer.name, "padding='same' that is uneven: Keras on PyTorch averages repeated border pixels then")
    return sketch.add(kind, layer.name, inputs, (*counts, shape[-1]), size=size, strides=strides, padding=sides)


@_reads(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D)
def _global_pool(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    if not _channels_last(layer, sketch):
        return _given_up(layer, inputs, sketch)
    shape = sketch.shapes[inputs[0]]
    size = _sizes(shape)[:2]
    kind = net.MaxPool if "Max" in type(layer).__name__ else net.AveragePool
    pooled = (*(1,) * (len(shape) - 1), shape[-1])
    y = sketch.add(kind, layer.name, inputs, pooled, size=size, strides=size)
    return y if layer.keepdims else sketch.add(net.Reshape, layer.name, [y], shape[-1:])


@_reads(layers.Flatten, layers.Reshape)
def _reshape(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    """Flatten of channels-first images moves their axes first; of anything else it does not."""
    shape = sketch.shapes[inputs[0]]
    if isinstance(layer, layers.Flatten):
        if len(shape) > 1 and not _channels_last(layer, sketch):
            return _given_up(layer, inputs, sketch)
        made: Shape = (int(np.prod(shape)),)
    else:
        rest = -int(np.prod(layer.target_shape))  # with one -1 among them, minus the product of the others
        made = tuple(int(np.prod(shape)) // rest if size == -1 else int(size) for size in layer.target_shape)
    return sketch.add(net.Reshape, layer.name, inputs, made)


@_reads(layers.Activation)
def _activation(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    return activated(layer.activation, layer, inputs[0], sketch)


@_reads(layers.ReLU)
def _relu(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    sketch.need(layer.max_value is None, layer.name, f"max_value {layer.max_value}")
    sketch.need(not layer.threshold, layer.name, f"threshold {layer.threshold}")
    slope = float(layer.negative_slope)
    kind = "leaky_relu" if slope else "relu"
    return sketch.add(net.Activation, layer.name, inputs, sketch.shapes[inputs[0]], kind=kind, slope=slope)


@_reads(layers.LeakyReLU)
def _leaky_relu(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    slope = float(layer.negative_slope)
    return sketch.add(net.Activation, layer.name, inputs, sketch.shapes[inputs[0]], kind="leaky_relu", slope=slope)


@_reads(layers.ELU)
def _elu(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    slope = float(layer.alpha)
    return sketch.add(net.Activation, layer.name, inputs, sketch.shapes[inputs[0]], kind="elu", slope=slope)


@_reads(layers.Softmax)
def _softmax(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    last = len(sketch.shapes[inputs[0]])
    sketch.need(list(axes) in ([-1], [last]), layer.name, f"axis {layer.axis}; covered is -1")
    return sketch.add(net.Activation, layer.name, inputs, sketch.shapes[inputs[0]], kind="softmax")


@_reads(layers.Dropout)
def _dropout(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    sketch.need(layer.noise_shape is None, layer.name, f"noise_shape {layer.noise_shape}")
    if not layer.rate:
        return inputs[0]
    seed = layer.seed
    if seed is None:  # Keras drew one when the layer was made
        seed = int(np.asarray(keras.ops.convert_to_numpy(layer.seed_generator.state)).reshape(-1)[0])
    shape = sketch.shapes[inputs[0]]
    return sketch.add(net.Dropout, layer.name, inputs, shape, rate=float(layer.rate), seed=int(seed) & 0xFFFFFFFF)


@_reads(layers.BatchNormalization)
def _batch_normalization(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    shape = sketch.shapes[inputs[0]]
    sketch.need(layer.axis in (-1, len(shape)), layer.name, f"axis {layer.axis}; covered is the last")
    sketch.need(not getattr(layer, "renorm", False), layer.name, "renorm=True")
    sketch.need(not layer.synchronized, layer.name, "synchronized=True")
    if layer.axis not in (-1, len(shape)):
        return _given_up(layer, inputs, sketch)
    return sketch.add(
        net.BatchNormalization,
        layer.name,
        inputs,
        shape,
        gamma=sketch.maybe(layer.gamma if layer.scale else None),
        beta=sketch.maybe(layer.beta if layer.center else None),
        mean=sketch.place(layer.moving_mean),
        variance=sketch.place(layer.moving_variance),
        momentum=float(layer.momentum),
        epsilon=float(layer.epsilon),
        frozen=not layer.trainable,
    )


@_reads(layers.LayerNormalization)
def _layer_normalization(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    shape = sketch.shapes[inputs[0]]
    given = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    axes = sorted(axis % (len(shape) + 1) for axis in given)
    whole = axes == list(range(1, len(shape) + 1))
    sketch.need(
        whole or axes == [len(shape)], layer.name, f"axis {layer.axis}; covered are the last, and all but that of the samples"
    )
    sketch.need(not getattr(layer, "rms_scaling", False), layer.name, "rms_scaling=True")
    return sketch.add(
        net.LayerNormalization,
        layer.name,
        inputs,
        shape,
        gamma=sketch.maybe(layer.gamma),
        beta=sketch.maybe(layer.beta),
        epsilon=float(layer.epsilon),
        whole=whole and len(shape) > 1,
    )


@_reads(layers.Add, layers.Subtract, layers.Multiply, layers.Maximum, layers.Average)
def _combine(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    return combined(_ALIKE[type(layer).__name__], layer.name, inputs, sketch)


def combined(kind: str, name: str, inputs: Sequence[int], sketch: Sketch) -> int:
    """Tensors of one shape put together; shapes that would be stretched to fit are refused."""
    shapes = [sketch.shapes[x] for x in inputs]
    sketch.need(len(set(shapes)) == 1, name, f"inputs of different shapes: {', '.join(map(str, shapes))}")
    return sketch.add(net.Combine, name, inputs, max((len(shape), shape) for shape in shapes)[1], kind=kind)


@_reads(layers.Concatenate)
def _concatenate(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    shapes = [sketch.shapes[x] for x in inputs]
    axis = layer.axis % (len(shapes[0]) + 1) - 1
    if not sketch.need(axis >= 0, layer.name, f"axis {layer.axis}, which is that of the samples"):
        return _given_up(layer, inputs, sketch)
    shape = list(shapes[0])
    shape[axis] = sum(each[axis] for each in shapes)
    return sketch.add(net.Concatenate, layer.name, inputs, shape, axis=axis)


@_reads(layers.ZeroPadding1D, layers.ZeroPadding2D)
def _zero_padding(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    if not _channels_last(layer, sketch):
        return _given_up(layer, inputs, sketch)
    shape = sketch.shapes[inputs[0]]
    rows, columns, channels = _sizes(shape)
    padding = layer.padding if len(shape) == _MAP_AXES else ((0, 0), layer.padding)
    sides = tuple((int(before), int(behind)) for before, behind in padding)
    made = (rows + sum(sides[0]), columns + sum(sides[1]), channels)[-len(shape) :]
    return sketch.add(net.Pad, layer.name, inputs, made, padding=sides)


@_reads(layers.UpSampling1D, layers.UpSampling2D)
def _up_sampling(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    shape = sketch.shapes[inputs[0]]
    if len(shape) == _MAP_AXES:
        if not _channels_last(layer, sketch):
            return _given_up(layer, inputs, sketch)
        sketch.need(
            layer.interpolation == "nearest", layer.name, f"interpolation {layer.interpolation!r}; covered is 'nearest'"
        )
    size = _pair(layer.size, len(shape) - 1)
    rows, columns, channels = _sizes(shape)
    return sketch.add(net.UpSample, layer.name, inputs, (rows * size[0], columns * size[1], channels)[-len(shape) :], size=size)


@_reads(layers.Rescaling)
def _rescaling(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    scalars = np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0
    if not sketch.need(scalars, layer.name, "scale or offset with a number for each channel"):
        return _given_up(layer, inputs, sketch)
    shape = sketch.shapes[inputs[0]]
    return sketch.add(net.Rescale, layer.name, inputs, shape, scale=float(layer.scale), offset=float(layer.offset))


@_reads(layers.Embedding)
def _embedding(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    sketch.need(not layer.mask_zero, layer.name, "mask_zero=True")
    sketch.need(inputs[0] == 0, layer.name, "an Embedding of what other layers computed")
    shape = (*sketch.shapes[inputs[0]], int(layer.output_dim))
    return sketch.add(net.Embedding, layer.name, inputs, shape, table=sketch.place(layer.embeddings))


@_reads(layers.Identity)
def _identity(layer: Any, inputs: Sequence[int], sketch: Sketch) -> int:
    return inputs[0]
