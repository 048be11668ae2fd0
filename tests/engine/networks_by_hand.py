"""Networks put together operation by operation, without any framework, with states and data for them."""

from __future__ import annotations

import numpy as np

from epochwise.engine import network as net
from epochwise.engine.network import Loss, Network, Optimizer, State, Weight
from epochwise.engine.trainer import Data

PLAIN = ((0, 0), (0, 0))
SGD = Optimizer("sgd")


def out_length(length, taps, stride, dilation, sides):
    """How many windows fit."""
    return (length + sum(sides) - ((taps - 1) * dilation + 1)) // stride + 1


def same(length, taps, stride, dilation=1):
    """The padding that Keras calls ``same``: as many windows as strides begin, the odd pixel behind."""
    windows = -(-length // stride)
    missing = max(0, (windows - 1) * stride + (taps - 1) * dilation + 1 - length)
    return missing // 2, missing - missing // 2


class Builder:
    """Adds operations one by one; each method takes tensors and gives the tensor made."""

    def __init__(self, input_shape):
        self.shapes = [tuple(input_shape)]
        self.weights = []
        self.operations = []
        self.input = 0

    def weight(self, name, shape, **options):
        self.weights.append(Weight(name, f"layer_{len(self.operations)}", tuple(shape), **options))
        return len(self.weights) - 1

    def add(self, operation, inputs, shape, **options):
        self.shapes.append(tuple(shape))
        made = operation(layer=f"layer_{len(self.operations)}", inputs=tuple(inputs), output=len(self.shapes) - 1, **options)
        self.operations.append(made)
        return made.output

    def _sizes(self, x):
        return ((1, 1, 1) + self.shapes[x])[-3:]

    def _window(self, x, size, strides, dilation, padding):
        """Padding on the sides, and the shape of what comes out without its channels."""
        rows, columns, _ = self._sizes(x)
        if padding == "same":
            sides = (same(rows, size[0], strides[0], dilation[0]), same(columns, size[1], strides[1], dilation[1]))
        else:
            sides = PLAIN if padding == "valid" else padding
        lengths = (
            out_length(rows, size[0], strides[0], dilation[0], sides[0]),
            out_length(columns, size[1], strides[1], dilation[1], sides[1]),
        )
        return sides, lengths[-(len(self.shapes[x]) - 1) :] if len(self.shapes[x]) > 1 else lengths

    def convolution(self, x, filters, size, strides=(1, 1), *, dilation=(1, 1), padding="valid", groups=1, bias=True, **weight):
        sides, lengths = self._window(x, size, strides, dilation, padding)
        taps = size[-(len(self.shapes[x]) - 1) :]
        kernel = self.weight("kernel", (*taps, self.shapes[x][-1] // groups, filters), **weight)
        held = self.weight("bias", (filters,)) if bias else None
        options = {"strides": strides, "dilation": dilation, "padding": sides, "groups": groups}
        return self.add(net.Convolution, [x], (*lengths, filters), kernel=kernel, bias=held, **options)

    def depthwise(self, x, each, size, strides=(1, 1), *, dilation=(1, 1), padding="valid", bias=True):
        sides, lengths = self._window(x, size, strides, dilation, padding)
        channels = self.shapes[x][-1]
        kernel = self.weight("kernel", (*size[-(len(self.shapes[x]) - 1) :], channels, each))
        held = self.weight("bias", (channels * each,)) if bias else None
        options = {"strides": strides, "dilation": dilation, "padding": sides}
        return self.add(net.DepthwiseConvolution, [x], (*lengths, channels * each), kernel=kernel, bias=held, **options)

    def dense(self, x, units, *, bias=True, **weight):
        kernel = self.weight("kernel", (self.shapes[x][-1], units), **weight)
        held = self.weight("bias", (units,)) if bias else None
        return self.add(net.Dense, [x], (*self.shapes[x][:-1], units), kernel=kernel, bias=held)

    def activation(self, x, kind, slope=0.0):
        return self.add(net.Activation, [x], self.shapes[x], kind=kind, slope=slope)

    def pool(self, kind, x, size, strides=None, padding="valid"):
        strides = strides or size
        sides, lengths = self._window(x, size, strides, (1, 1), padding)
        options = {"size": size, "strides": strides, "padding": sides}
        return self.add(kind, [x], (*lengths, self.shapes[x][-1]), **options)

    def global_average(self, x):
        size = self._sizes(x)[:2]
        pooled = self.add(
            net.AveragePool, [x], ((1,) * (len(self.shapes[x]) - 1) + self.shapes[x][-1:]), size=size, strides=size
        )
        return self.reshape(pooled, self.shapes[x][-1:])

    def dropout(self, x, rate, seed=0):
        return self.add(net.Dropout, [x], self.shapes[x], rate=rate, seed=seed)

    def batch_normalization(self, x, *, scale=True, center=True, momentum=0.99, epsilon=1e-3, frozen=False):
        channels = self.shapes[x][-1:]
        gamma = self.weight("gamma", channels, trained=not frozen) if scale else None
        beta = self.weight("beta", channels, trained=not frozen) if center else None
        mean = self.weight("moving_mean", channels, trained=False)
        variance = self.weight("moving_variance", channels, trained=False)
        options = {"momentum": momentum, "epsilon": epsilon, "frozen": frozen}
        places = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        return self.add(net.BatchNormalization, [x], self.shapes[x], **places, **options)

    def layer_normalization(self, x, *, whole=False, epsilon=1e-3):
        shape = self.shapes[x] if whole else self.shapes[x][-1:]
        gamma, beta = self.weight("gamma", shape), self.weight("beta", shape)
        return self.add(net.LayerNormalization, [x], self.shapes[x], gamma=gamma, beta=beta, epsilon=epsilon, whole=whole)

    def combine(self, kind, inputs):
        return self.add(net.Combine, inputs, self.shapes[inputs[0]], kind=kind)

    def concatenate(self, inputs, axis=-1):
        shapes = [self.shapes[x] for x in inputs]
        axis %= len(shapes[0])
        shape = list(shapes[0])
        shape[axis] = sum(each[axis] for each in shapes)
        return self.add(net.Concatenate, inputs, shape, axis=axis)

    def pad(self, x, padding):
        rows, columns, channels = self._sizes(x)
        shape = (rows + sum(padding[0]), columns + sum(padding[1]), channels)
        return self.add(net.Pad, [x], shape[-len(self.shapes[x]) :], padding=padding)

    def reshape(self, x, shape):
        return self.add(net.Reshape, [x], shape)

    def flatten(self, x):
        return self.reshape(x, (int(np.prod(self.shapes[x])),))

    def up_sample(self, x, size):
        rows, columns, channels = self._sizes(x)
        shape = (rows * size[0], columns * size[1], channels)
        return self.add(net.UpSample, [x], shape[-len(self.shapes[x]) :], size=size)

    def rescale(self, x, scale, offset):
        return self.add(net.Rescale, [x], self.shapes[x], scale=scale, offset=offset)

    def embedding(self, x, rows, channels):
        table = self.weight("embeddings", (rows, channels))
        return self.add(net.Embedding, [x], (*self.shapes[x], channels), table=table)

    def network(self, output, loss, metrics=(), optimizer=SGD):
        return Network(
            name="by_hand",
            shapes=tuple(self.shapes),
            input=self.input,
            output=output,
            weights=tuple(self.weights),
            operations=tuple(self.operations),
            loss=loss,
            metrics=tuple(metrics),
            optimizer=optimizer,
        )


def state_for(network, seed=0):
    """Weights as Keras would begin with them (Glorot's uniform kernels), with biases and statistics that are not trivial."""
    generator = np.random.default_rng(seed)

    def drawn(weight):
        if weight.name in ("kernel", "embeddings"):
            ins, outs = int(np.prod(weight.shape[:-1])), weight.shape[-1]
            limit = (6 / (ins + outs)) ** 0.5
            return generator.uniform(-limit, limit, weight.shape)
        low, high = {"gamma": (0.5, 1.5), "moving_variance": (0.5, 2.0)}.get(weight.name, (-0.3, 0.3))
        return generator.uniform(low, high, weight.shape)

    weights = [drawn(weight).astype(np.float32) for weight in network.weights]
    slots = [
        [np.zeros(weight.shape, np.float32) for _ in range(network.optimizer.slots if weight.trained else 0)]
        for weight in network.weights
    ]
    return State(weights, slots)


def copied(state):
    """The same numbers in other arrays."""
    return State([w.copy() for w in state.weights], [[s.copy() for s in each] for each in state.slots], state.iterations)


def data_for(network, samples, seed=0, *, weighted=False, uint8=False, rows=None):
    """Random samples with answers that fit the loss; ``rows`` for whole numbers that an embedding looks up."""
    generator = np.random.default_rng(seed + 1)
    shape = (samples, *network.shapes[network.input])
    if rows is not None:
        x = generator.integers(rows, size=shape).astype(np.float32)
    elif uint8:
        x = generator.integers(256, size=shape).astype(np.uint8)
    else:
        x = generator.normal(size=shape).astype(np.float32)
    output = network.shapes[network.output]
    if network.loss.kind == "sparse_categorical_crossentropy":
        y = generator.integers(output[-1], size=(samples, *output[:-1])).astype(np.int32)
    elif network.loss.kind == "categorical_crossentropy":
        y = np.eye(output[-1], dtype=np.float32)[generator.integers(output[-1], size=(samples, *output[:-1]))]
    elif network.loss.kind == "binary_crossentropy":
        y = generator.integers(2, size=(samples, *output)).astype(np.float32)
    else:
        y = generator.normal(size=(samples, *output)).astype(np.float32)
    return Data(x, y, generator.uniform(0, 2, samples).astype(np.float32) if weighted else None)


SPARSE = Loss("sparse_categorical_crossentropy", from_logits=True)
"""What most tests are trained with."""
