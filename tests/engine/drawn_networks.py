"""Networks drawn at random: what the compiled trainer and the plain one must agree on.

A drawn network has 2 to 8 layers: windows of 1 to 5 taps, 1 to 40 channels, branches that join again, and a loss with its
last activation. :func:`cases` adds a state, data, a batch size of 1 to 33 (with a partial batch at the end more often than not)
and an optimizer. ``stage`` says how far the operations go: those of stage 1, 2 or 3 of the plan of the engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from epochwise.engine import network as net
from epochwise.engine.network import Loss, Metric, Network, Optimizer, State
from epochwise.engine.trainer import Data
from tests.engine.networks_by_hand import Builder, data_for, state_for

MOST_ELEMENTS = 12_000
"""Of one sample's tensor: beyond, no wider layer is drawn."""
CHANNELS = st.one_of(st.integers(1, 40), st.sampled_from([1, 3, 8, 15, 16, 17, 31, 32, 33, 40]))
RATES = (0.1, 0.25, 0.5)
SMOOTH = (("relu", 0.0), ("sigmoid", 0.0), ("tanh", 0.0), ("gelu", 0.0), ("gelu_tanh", 0.0), ("leaky_relu", 0.2), ("elu", 1.0))


@dataclass(frozen=True)
class Case:
    """All that a trainer needs.

    Attributes:
        network: what is trained.
        samples: how many there are.
        batch_size: of a step.
        seed: of state and data.
        weighted: whether samples have weights.
        uint8: whether samples are bytes.
    """

    network: Network
    samples: int
    batch_size: int
    seed: int
    weighted: bool = False
    uint8: bool = False

    @property
    def steps(self) -> int:
        """Of one epoch."""
        return -(-self.samples // self.batch_size)

    def state(self) -> State:
        """A new one each time."""
        return state_for(self.network, self.seed)

    def data(self) -> Data:
        """The same each time."""
        table = next((self.network.weights[o.table] for o in self.network.operations if isinstance(o, net.Embedding)), None)
        rows = None if table is None else table.shape[0]
        return data_for(self.network, self.samples, self.seed, weighted=self.weighted, uint8=self.uint8, rows=rows)

    def learning_rates(self) -> np.ndarray:
        """One for each step of an epoch; small enough that nothing diverges."""
        return np.full(self.steps, 0.01 if self.network.optimizer.kind == "sgd" else 0.001, np.float32)


@st.composite
def networks(draw, stage=3, dropout=True, optimizer=None):
    """A network; see the head of this file."""
    wide = {"min_value": 1, "max_value": 12}
    kind = draw(st.sampled_from(["map", "map", "map", "row", "vector", "tokens"] if stage >= 3 else ["map", "map", "vector"]))
    if kind == "map":
        shape = (draw(st.integers(**wide)), draw(st.integers(**wide)), draw(st.sampled_from([1, 2, 3, 4, 8, 17])))
    elif kind == "row":
        shape = (draw(st.integers(1, 30)), draw(st.sampled_from([1, 2, 3, 9])))
    else:
        shape = (draw(st.integers(1, 40 if kind == "vector" else 10)),)
    builder = Builder(shape)
    x = builder.input
    if kind == "tokens":
        x = builder.embedding(x, draw(st.integers(2, 30)), draw(CHANNELS))
    elif stage >= 3 and draw(st.integers(0, 4)) == 0:
        x = builder.rescale(x, 1 / 255, draw(st.sampled_from([0.0, -0.5])))
    for _ in range(draw(st.integers(1, 6))):
        if stage >= 2 and draw(st.integers(0, 4)) == 0:
            x = _branches(draw, builder, x, stage, dropout)
        else:
            x = _layer(draw, builder, x, stage, dropout)
    if len(builder.shapes[x]) > 1:
        x = _joined_places(draw, builder, x, stage)
    output, loss, metrics = _ending(draw, builder, x)
    return builder.network(output, loss, metrics, draw(optimizers()) if optimizer is None else optimizer)


@st.composite
def cases(draw, stage=3, dropout=True, optimizer=None):
    """A network with all that a trainer needs."""
    batch_size = draw(st.integers(1, 33))
    network = draw(networks(stage=stage, dropout=dropout, optimizer=optimizer))
    return Case(
        network,
        samples=batch_size * draw(st.integers(0, 2)) + draw(st.integers(1, batch_size)),
        batch_size=batch_size,
        seed=draw(st.integers(0, 2**16)),
        weighted=draw(st.booleans()),
        uint8=isinstance(network.operations[0], net.Rescale) and draw(st.booleans()),
    )


@st.composite
def optimizers(draw):
    """SGD, Adam and AdamW with their options; one kind of clipping at most, as Keras wants it."""
    clipping = draw(st.sampled_from([{}, {}, {}, {"clip_norm": 0.5}, {"clip_value": 0.01}, {"global_clip_norm": 0.5}]))
    decay = draw(st.sampled_from([None, None, 0.01]))
    kind = draw(st.sampled_from(["sgd", "sgd", "adam", "adamw"]))
    if kind == "sgd":
        momentum = draw(st.sampled_from([0.0, 0.9]))
        return Optimizer(kind, momentum=momentum, nesterov=draw(st.booleans()), weight_decay=decay, **clipping)
    return Optimizer(kind, weight_decay=0.004 if kind == "adamw" else decay, **clipping)


def _layer(draw, builder, x, stage, dropout):
    """One more layer, with its activation as often as not; only what fits the shape."""
    shape = builder.shapes[x]
    kinds = ["dense", "activation"]
    if len(shape) > 1:
        kinds += ["convolution", "convolution", "convolution", "max_pool", "flatten"]
    if dropout:
        kinds += ["dropout"]
    if stage >= 2:
        kinds += ["batch_normalization"]
        kinds += ["depthwise", "average_pool", "pad"] if len(shape) > 1 else []
    if stage >= 3:
        kinds += ["layer_normalization"]
        kinds += ["up_sample"] if len(shape) > 1 and np.prod(shape) < MOST_ELEMENTS / 4 else []
    kind = draw(st.sampled_from(kinds))
    if kind == "dense":
        x = builder.dense(x, draw(CHANNELS), bias=draw(st.booleans()), **_penalty(draw, stage))
    elif kind == "activation":
        x = _activated(draw, builder, x, stage)
    elif kind == "convolution":
        x = _convolution(draw, builder, x, stage)
    elif kind == "depthwise":
        size, strides, dilation, padding = _window(draw, shape, stage)
        each = draw(st.integers(1, 3)) if shape[-1] <= 13 else 1
        x = builder.depthwise(x, each, size, strides, dilation=dilation, padding=padding, bias=draw(st.booleans()))
    elif kind in ("max_pool", "average_pool"):
        size, _, _, padding = _window(draw, shape, 1)
        strides = draw(st.sampled_from([size, (1, 1), (2 if len(shape) > 2 else 1, 2)]))
        x = builder.pool(net.MaxPool if kind == "max_pool" else net.AveragePool, x, size, strides, padding)
    elif kind == "dropout":
        x = builder.dropout(x, draw(st.sampled_from(RATES)), draw(st.integers(0, 1000)))
    elif kind == "batch_normalization":
        options = {"scale": draw(st.booleans()), "center": draw(st.booleans()), "frozen": draw(st.integers(0, 4)) == 0}
        x = builder.batch_normalization(x, momentum=draw(st.sampled_from([0.99, 0.8])), **options)
    elif kind == "layer_normalization":
        x = builder.layer_normalization(x, whole=draw(st.booleans()))
    elif kind == "pad":
        sides = draw(st.tuples(*[st.integers(0, 2)] * 4))
        x = builder.pad(x, ((0, 0) if len(shape) < 3 else sides[:2], sides[2:]))
    elif kind == "up_sample":
        x = builder.up_sample(x, (draw(st.integers(1, 2)) if len(shape) > 2 else 1, draw(st.integers(1, 3))))
    else:
        x = builder.flatten(x)
    if kind in ("dense", "convolution", "depthwise", "batch_normalization") and draw(st.booleans()):
        x = _activated(draw, builder, x, stage)
    return x


def _activated(draw, builder, x, stage):
    kind, slope = draw(st.sampled_from(SMOOTH if stage >= 2 else SMOOTH[:3]))
    return builder.activation(x, kind, slope)


def _window(draw, shape, stage):
    """Size, strides, dilation and padding of a window that fits into a map."""
    rows, columns = shape[:-1] if len(shape) > 2 else (1, shape[0])
    padding = draw(st.sampled_from(["same", "valid"]))
    spans = [draw(st.integers(1, 5 if padding == "same" else min(5, length))) for length in (rows, columns)]
    size = (spans[0] if len(shape) > 2 else 1, spans[1])
    strides = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3), (2, 1)]))
    dilation = (1, 1)
    if stage >= 2 and strides == (1, 1) and draw(st.integers(0, 3)) == 0:  # Keras has either strides or dilation
        fits = [padding == "same" or (taps - 1) * 2 + 1 <= length for taps, length in zip(size, (rows, columns), strict=True)]
        dilation = (2 if fits[0] and len(shape) > 2 else 1, 2 if fits[1] else 1)
    return size, strides if len(shape) > 2 else (1, strides[1]), dilation, padding


def _convolution(draw, builder, x, stage, filters=None, strides=None, padding=None):
    shape = builder.shapes[x]
    size, drawn_strides, dilation, drawn_padding = _window(draw, shape, stage)
    filters = filters or draw(CHANNELS)
    if np.prod(shape[:-1]) * filters > MOST_ELEMENTS:
        filters = 4
    groups = 1
    if stage >= 3 and draw(st.integers(0, 4)) == 0:
        groups = draw(st.sampled_from([n for n in range(1, shape[-1] + 1) if shape[-1] % n == 0 and filters % n == 0]))
    return builder.convolution(
        x,
        filters,
        size,
        strides or drawn_strides,
        dilation=(1, 1) if strides else dilation,
        padding=padding or drawn_padding,
        groups=groups,
        bias=draw(st.booleans()),
        **_penalty(draw, stage),
    )


def _penalty(draw, stage):
    return draw(st.sampled_from([{}, {}, {"l1": 0.001}, {"l2": 0.01}, {"l1": 0.001, "l2": 0.002}])) if stage >= 2 else {}


def _branches(draw, builder, x, stage, dropout):
    """Two or three ways that join again; one may be the tensor itself."""
    shape, count = builder.shapes[x], draw(st.integers(2, 3))
    join = draw(st.sampled_from(["add", "add", "average", "multiply", "subtract", "maximum", "concatenate"]))
    ends = []
    for place in range(2 if join == "subtract" else count):
        if place == 0 and draw(st.booleans()):
            ends.append(x)
            continue
        filters = draw(CHANNELS) if join == "concatenate" else shape[-1]
        end = _convolution(draw, builder, x, stage, filters, (1, 1), "same") if len(shape) > 1 else x
        if builder.shapes[end] != (*shape[:-1], filters) or end == x:  # cut down for its size
            end = builder.dense(x, filters)
        if dropout and draw(st.integers(0, 5)) == 0:
            end = builder.dropout(end, draw(st.sampled_from(RATES)), draw(st.integers(0, 1000)))
        ends.append(_activated(draw, builder, end, stage) if draw(st.booleans()) else end)
    return builder.concatenate(ends) if join == "concatenate" else builder.combine(join, ends)


def _joined_places(draw, builder, x, stage):
    """A map as one vector; at stage 3 it may stay a map, with an answer at each place."""
    how = draw(st.sampled_from(["flatten", "flatten", "average", "average", "stay"][: 1 + 2 * (stage - 1)]))
    if how == "stay":
        return x
    return builder.global_average(x) if how == "average" else builder.flatten(x)


def _ending(draw, builder, x):
    """The last layer with its activation, a loss that takes it, and metrics."""
    kinds = ["sparse_categorical", "sparse_categorical", "categorical", "binary", "mean"]
    kind = draw(st.sampled_from(kinds))
    units = draw(st.integers(1 if kind in ("binary", "mean") else 2, 40))
    logits = builder.dense(x, units)
    weighted = draw(st.booleans())
    if kind == "mean":
        return logits, Loss("mean_squared_error"), [Metric("mae", "mean_absolute_error", weighted)]
    where = draw(st.sampled_from(["logits", "behind", "clipped"]))
    smoothing = 0.0 if kind == "sparse_categorical" else draw(st.sampled_from([0.0, 0.1]))
    output = logits if where == "logits" else builder.activation(logits, "sigmoid" if kind == "binary" else "softmax")
    loss = Loss(f"{kind}_crossentropy", where == "logits", logits if where == "behind" else None, smoothing)
    return output, loss, [Metric("accuracy", f"{kind}_accuracy", weighted)]
