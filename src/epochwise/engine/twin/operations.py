"""Each operation forward and backward.

A rule takes the operation, its inputs and the pass it belongs to. It gives the output, and a function that pulls the gradient
of the output back: to gradients of the inputs, and of weights by their place.

Legend: ``B`` samples, ``H W C`` a map, ``R S`` rows and columns of a window, ``K`` filters; ``g`` the gradient of the output,
which has the output's shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np

from epochwise.engine import network as net
from epochwise.engine.network import Network, Operation
from epochwise.engine.twin.windows import Array, as_maps, as_taps, inner, padded, places, windows

Pulled: TypeAlias = tuple[Sequence[Array], dict[int, Array]]
"""Gradients of the inputs, and of weights by their place."""
Pull: TypeAlias = Callable[[Array], Pulled]
Keep: TypeAlias = Callable[[net.Dropout, int, tuple[int, ...]], Array]
"""Which numbers a dropout keeps, as truth values: given the operation, the step (counted from 0) and the shape ``(B, ...)``."""
Some = TypeVar("Some", bound=Operation)


@dataclass(slots=True)
class Pass:
    """One batch on its way through the network.

    Attributes:
        network: what it goes through.
        weights: the arrays, by their place; read only.
        training: whether dropout acts and statistics are those of the batch.
        step: optimizer steps done before.
        keep: the masks of dropout.
        moved: running statistics after this batch, by their place.
    """

    network: Network
    weights: Sequence[Array]
    training: bool
    step: int
    keep: Keep
    moved: dict[int, Array] = field(default_factory=dict)

    def shape(self, tensor: int, samples: int) -> tuple[int, ...]:
        """Of a tensor, with the batch."""
        return (samples, *self.network.shapes[tensor])


_RULES: dict[type[Operation], Callable[[Any, Sequence[Array], Pass], tuple[Array, Pull]]] = {}


def run(operation: Operation, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """The operation's output, and what pulls a gradient back through it."""
    return _RULES[type(operation)](operation, inputs, at)


def known() -> set[type[Operation]]:
    """The operations that there are rules for."""
    return set(_RULES)


def _rule(
    kind: type[Some],
) -> Callable[[Callable[[Some, Sequence[Array], Pass], tuple[Array, Pull]]], Callable[..., tuple[Array, Pull]]]:
    def put(function: Callable[[Some, Sequence[Array], Pass], tuple[Array, Pull]]) -> Callable[..., tuple[Array, Pull]]:
        _RULES[kind] = function
        return function

    return put


@_rule(net.Convolution)
def _convolution(operation: net.Convolution, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """``y[b,i,j,k] = sum over r,s,c of x[b, i*stride + r*dilation, j*stride + s*dilation, c] * w[r,s,c,k]``, group by group."""
    kernel = as_taps(at.weights[operation.kernel])
    x = padded(as_maps(inputs[0]), operation.padding)
    size = kernel.shape[:2]
    seen = windows(x, size, operation.strides, operation.dilation)  # B H' W' C R S
    counts = seen.shape[1:3]
    per_group, filters = kernel.shape[2], kernel.shape[3] // operation.groups

    def channels(group: int) -> slice:
        return slice(group * per_group, (group + 1) * per_group)

    def outputs(group: int) -> slice:
        return slice(group * filters, (group + 1) * filters)

    parts = [
        np.tensordot(seen[:, :, :, channels(group)], kernel[..., outputs(group)], axes=((4, 5, 3), (0, 1, 2)))
        for group in range(operation.groups)
    ]
    y = np.concatenate(parts, axis=-1)
    if operation.bias is not None:
        y = y + at.weights[operation.bias]

    def pull(gradient: Array) -> Pulled:
        g = gradient.reshape(y.shape)
        to_kernel, to_x = np.zeros_like(kernel), np.zeros_like(x)
        for group in range(operation.groups):
            mine = g[..., outputs(group)]
            # Each weight meets each pixel that its tap sees: dw[r,s,c,k] = sum over b,i,j of seen * g.
            products = np.tensordot(seen[:, :, :, channels(group)], mine, axes=((0, 1, 2), (0, 1, 2)))  # C R S K
            to_kernel[..., outputs(group)] = products.transpose(1, 2, 0, 3)
            for row, column, where in places(size, operation.strides, counts, operation.dilation):
                to_x[(*where, channels(group))] += mine @ kernel[row, column, :, outputs(group)].T
        to_weights = {operation.kernel: to_kernel.reshape(at.weights[operation.kernel].shape)}
        if operation.bias is not None:
            to_weights[operation.bias] = g.sum(axis=(0, 1, 2))
        return [inner(to_x, operation.padding).reshape(inputs[0].shape)], to_weights

    return y.reshape(at.shape(operation.output, len(x))), pull


@_rule(net.DepthwiseConvolution)
def _depthwise(operation: net.DepthwiseConvolution, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """``y[b,i,j,c*M+m] = sum over r,s of x[..., c] * w[r,s,c,m]``: channels do not mix."""
    kernel = as_taps(at.weights[operation.kernel])
    x = padded(as_maps(inputs[0]), operation.padding)
    size = kernel.shape[:2]
    seen = windows(x, size, operation.strides, operation.dilation)  # B H' W' C R S
    counts = seen.shape[1:3]
    apart = np.einsum("bijcrs,rscm->bijcm", seen, kernel, optimize=True)
    y = apart.reshape(*apart.shape[:3], -1)
    if operation.bias is not None:
        y = y + at.weights[operation.bias]

    def pull(gradient: Array) -> Pulled:
        g = gradient.reshape(apart.shape)  # B H' W' C M
        to_kernel = np.einsum("bijcrs,bijcm->rscm", seen, g, optimize=True)
        to_x = np.zeros_like(x)
        for row, column, where in places(size, operation.strides, counts, operation.dilation):
            to_x[where] += (g * kernel[row, column]).sum(axis=-1)
        to_weights = {operation.kernel: to_kernel.reshape(at.weights[operation.kernel].shape)}
        if operation.bias is not None:
            to_weights[operation.bias] = g.sum(axis=(0, 1, 2)).reshape(-1)
        return [inner(to_x, operation.padding).reshape(inputs[0].shape)], to_weights

    return y.reshape(at.shape(operation.output, len(x))), pull


@_rule(net.Dense)
def _dense(operation: net.Dense, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """``y = x @ w + b`` over the last axis."""
    kernel = at.weights[operation.kernel]
    x = inputs[0]
    y = x @ kernel
    if operation.bias is not None:
        y = y + at.weights[operation.bias]

    def pull(gradient: Array) -> Pulled:
        rows, g = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        to_weights = {operation.kernel: rows.T @ g}
        if operation.bias is not None:
            to_weights[operation.bias] = g.sum(axis=0)
        return [gradient @ kernel.T], to_weights

    return y, pull


_erf = np.vectorize(math.erf, otypes=[np.float64])
GELU_CUBIC = 0.044715
"""Of the approximation of GELU: Hendrycks and Gimpel, arXiv:1606.08415, section 2."""


def softmax(x: Array) -> Array:
    """Over the last axis; the largest is taken off first, so that nothing overflows."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))`` by the hyperbolic tangent, which does not overflow."""
    result: Array = x.dtype.type(0.5) * (1 + np.tanh(x / 2))
    return result


@_rule(net.Activation)
def _activation(operation: net.Activation, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """Value and derivative; at exactly 0, relu and its kin have the derivative of the side below."""
    x = inputs[0]
    slope = x.dtype.type(operation.slope)
    if operation.kind == "softmax":
        y = softmax(x)
        # dy_i/dx_j = y_i (1[i=j] - y_j), so what comes back is y (g - sum of g y).
        return y, lambda g: ([y * (g - (g * y).sum(axis=-1, keepdims=True))], {})
    if operation.kind == "relu":
        y, steepness = np.maximum(x, 0), (x > 0).astype(x.dtype)
    elif operation.kind == "leaky_relu":
        y, steepness = np.where(x > 0, x, slope * x), np.where(x > 0, x.dtype.type(1), slope)
    elif operation.kind == "elu":
        low = slope * np.expm1(np.minimum(x, 0))
        y, steepness = np.where(x > 0, x, low), np.where(x > 0, x.dtype.type(1), low + slope)
    elif operation.kind == "sigmoid":
        y = sigmoid(x)
        steepness = y * (1 - y)
    elif operation.kind == "tanh":
        y = np.tanh(x)
        steepness = 1 - y * y
    elif operation.kind == "gelu":  # x * Phi(x), Phi the normal distribution; Phi' is its density
        phi = (0.5 * (1 + _erf(x / math.sqrt(2)))).astype(x.dtype)
        density = np.exp(-x * x / 2) / x.dtype.type(math.sqrt(2 * math.pi))
        y, steepness = x * phi, phi + x * density
    else:  # gelu_tanh: x / 2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3)
        scale = x.dtype.type(math.sqrt(2 / math.pi))
        bent = np.tanh(scale * (x + GELU_CUBIC * x**3))
        inner_steepness = scale * (1 + 3 * GELU_CUBIC * x * x)
        y, steepness = x / 2 * (1 + bent), (1 + bent) / 2 + x / 2 * (1 - bent * bent) * inner_steepness
    return y, lambda g: ([g * steepness], {})


@_rule(net.MaxPool)
def _max_pool(operation: net.MaxPool, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """The gradient goes to the largest of each window; of equal ones to the first, row by row."""
    x = padded(as_maps(inputs[0]), operation.padding, -np.inf)
    seen = windows(x, operation.size, operation.strides)
    flat = seen.reshape(*seen.shape[:4], -1)  # B H' W' C R*S
    first = flat.argmax(axis=-1)  # of NaN also: one of them is the largest
    y = np.take_along_axis(flat, first[..., None], axis=-1)[..., 0]

    def pull(gradient: Array) -> Pulled:
        g = gradient.reshape(y.shape)
        to_x = np.zeros_like(x)
        for row, column, where in places(operation.size, operation.strides, y.shape[1:3]):
            to_x[where] += g * (first == row * operation.size[1] + column)
        return [inner(to_x, operation.padding).reshape(inputs[0].shape)], {}

    return y.reshape(at.shape(operation.output, len(x))), pull


@_rule(net.AveragePool)
def _average_pool(operation: net.AveragePool, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """Each window's sum, divided by how many of its pixels lie in the map."""
    plain = as_maps(inputs[0])
    x = padded(plain, operation.padding)
    inside = padded(np.ones((1, *plain.shape[1:3], 1), x.dtype), operation.padding)
    counted = windows(inside, operation.size, operation.strides).sum(axis=(4, 5))
    y = windows(x, operation.size, operation.strides).sum(axis=(4, 5)) / counted

    def pull(gradient: Array) -> Pulled:
        share = gradient.reshape(y.shape) / counted
        to_x = np.zeros_like(x)
        for _, _, where in places(operation.size, operation.strides, y.shape[1:3]):
            to_x[where] += share
        return [inner(to_x, operation.padding).reshape(inputs[0].shape)], {}

    return y.reshape(at.shape(operation.output, len(x))), pull


@_rule(net.Dropout)
def _dropout(operation: net.Dropout, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """What is kept grows by ``1 / (1 - rate)``, so that the expected value stays."""
    x = inputs[0]
    if not at.training or operation.rate == 0:
        return x, lambda g: ([g], {})
    factor = at.keep(operation, at.step, x.shape).astype(x.dtype) / x.dtype.type(1 - operation.rate)
    return x * factor, lambda g: ([g * factor], {})


def _normalized(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array, Callable[[Array], Array]]:
    """``(x - mean) / sqrt(variance + epsilon)`` with the mean and (biased) variance over some axes, and its pull.

    The pull is Ioffe and Szegedy's (arXiv:1502.03167, section 3): mean and variance depend on x as well, which takes the mean
    of g, and the part of g along the normalized x, off the gradient.
    """
    mean = x.mean(axis=axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
    factor = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    normal = (x - mean) * factor

    def pull(g: Array) -> Array:
        along = (g * normal).mean(axis=axes, keepdims=True)
        result: Array = factor * (g - g.mean(axis=axes, keepdims=True) - normal * along)
        return result

    return normal, mean, variance, pull


@_rule(net.BatchNormalization)
def _batch_normalization(operation: net.BatchNormalization, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """``gamma * normalized + beta`` by channel; in training with the batch's statistics, which also move the running ones."""
    x = inputs[0]
    axes = tuple(range(x.ndim - 1))
    gamma = x.dtype.type(1) if operation.gamma is None else at.weights[operation.gamma]
    mean = at.moved.get(operation.mean, at.weights[operation.mean])
    variance = at.moved.get(operation.variance, at.weights[operation.variance])
    if at.training and not operation.frozen:
        normal, batch_mean, batch_variance, back = _normalized(x, axes, operation.epsilon)
        stays = x.dtype.type(operation.momentum)
        at.moved[operation.mean] = mean * stays + batch_mean.reshape(-1) * (1 - stays)
        at.moved[operation.variance] = variance * stays + batch_variance.reshape(-1) * (1 - stays)
    else:
        factor = 1 / np.sqrt(variance + x.dtype.type(operation.epsilon))
        normal = (x - mean) * factor

        def back(g: Array) -> Array:
            result: Array = g * factor
            return result

    y = normal * gamma
    if operation.beta is not None:
        y = y + at.weights[operation.beta]

    def pull(g: Array) -> Pulled:
        to_weights = {}
        if operation.gamma is not None:
            to_weights[operation.gamma] = (g * normal).sum(axis=axes)
        if operation.beta is not None:
            to_weights[operation.beta] = g.sum(axis=axes)
        return [back(g * gamma)], to_weights

    return y, pull


@_rule(net.LayerNormalization)
def _layer_normalization(operation: net.LayerNormalization, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """As batch normalization, but over each sample's own last axis, or all of it."""
    x = inputs[0]
    axes = tuple(range(1, x.ndim)) if operation.whole else (x.ndim - 1,)
    others = tuple(axis for axis in range(x.ndim) if axis not in axes)
    normal, _, _, back = _normalized(x, axes, operation.epsilon)
    gamma = x.dtype.type(1) if operation.gamma is None else at.weights[operation.gamma]
    y = normal * gamma
    if operation.beta is not None:
        y = y + at.weights[operation.beta]

    def pull(g: Array) -> Pulled:
        to_weights = {}
        if operation.gamma is not None:
            to_weights[operation.gamma] = (g * normal).sum(axis=others)
        if operation.beta is not None:
            to_weights[operation.beta] = g.sum(axis=others)
        return [back(g * gamma)], to_weights

    return y, pull


@_rule(net.Combine)
def _combine(operation: net.Combine, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """From left to right. Of equal maxima the first has the gradient."""
    first = inputs[0]
    if operation.kind == "subtract":
        return first - inputs[1], lambda g: ([g, -g], {})
    if operation.kind == "multiply":
        y = np.multiply.reduce(inputs)

        def pull_product(g: Array) -> Pulled:
            others = [[other for at, other in enumerate(inputs) if at != place] for place in range(len(inputs))]
            return [g * np.multiply.reduce(rest) if rest else g for rest in others], {}

        return y, pull_product
    if operation.kind == "maximum":
        winner = np.argmax(inputs, axis=0)
        return np.maximum.reduce(inputs), lambda g: ([g * (winner == place) for place in range(len(inputs))], {})
    share = first.dtype.type(1 / len(inputs) if operation.kind == "average" else 1)
    return np.add.reduce(inputs) * share, lambda g: ([g * share for _ in inputs], {})


@_rule(net.Concatenate)
def _concatenate(operation: net.Concatenate, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """The gradient is cut where the tensors were joined."""
    axis = operation.axis + 1
    cuts = np.cumsum([each.shape[axis] for each in inputs])[:-1]
    return np.concatenate(inputs, axis=axis), lambda g: (np.split(g, cuts, axis=axis), {})


@_rule(net.Pad)
def _pad(operation: net.Pad, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """Zeros around; what falls on them in the gradient is dropped."""
    x = inputs[0]
    y = padded(as_maps(x), operation.padding)
    return y.reshape(at.shape(operation.output, len(x))), lambda g: (
        [inner(g.reshape(y.shape), operation.padding).reshape(x.shape)],
        {},
    )


@_rule(net.Reshape)
def _reshape(operation: net.Reshape, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """The same numbers."""
    x = inputs[0]
    return x.reshape(at.shape(operation.output, len(x))), lambda g: ([g.reshape(x.shape)], {})


@_rule(net.UpSample)
def _up_sample(operation: net.UpSample, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """Each pixel several times; the gradients of its copies add up."""
    x = as_maps(inputs[0])
    samples, rows, columns, channels = x.shape
    down, right = operation.size
    y = x.repeat(down, axis=1).repeat(right, axis=2)

    def pull(g: Array) -> Pulled:
        blocks = g.reshape(samples, rows, down, columns, right, channels)
        return [blocks.sum(axis=(2, 4)).reshape(inputs[0].shape)], {}

    return y.reshape(at.shape(operation.output, samples)), pull


@_rule(net.Rescale)
def _rescale(operation: net.Rescale, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """``x * scale + offset``."""
    x = inputs[0]
    scale = x.dtype.type(operation.scale)
    return x * scale + x.dtype.type(operation.offset), lambda g: ([g * scale], {})


@_rule(net.Embedding)
def _embedding(operation: net.Embedding, inputs: Sequence[Array], at: Pass) -> tuple[Array, Pull]:
    """Rows of the table; a row that is looked up several times gets the sum of the gradients."""
    table = at.weights[operation.table]
    rows = inputs[0].astype(np.int64)

    def pull(g: Array) -> Pulled:
        to_table = np.zeros_like(table)
        np.add.at(to_table, rows, g)
        return [np.zeros_like(inputs[0])], {operation.table: to_table}

    return table[rows], pull
