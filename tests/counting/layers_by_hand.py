"""Counts single Keras layers on the active backend and prints their MACs as JSON: ``python layers_by_hand.py [name ...]``.

Each stands behind a layer that learns, so that it needs the gradient of its input; what it does is on the rows named ``x``.
"""

from __future__ import annotations

import json
import sys

import keras

from epochwise.counting import count

L, ops = keras.layers, keras.ops


def behind(shape, layer, more=()):
    """A model of one layer, behind a product with as many features as there are."""
    given = L.Input(shape)
    hidden = L.Dense(shape[-1], name="before")(given)
    made = layer(hidden)
    for further in more:
        made = further(made)
    return keras.Model(given, made)


def pair(layer, queries=(5, 6), keys=(7, 6), **options):
    """A model of a layer that takes two inputs, each behind a product of its own."""
    one, two = L.Input(queries), L.Input(keys)
    return keras.Model((one, two), layer(L.Dense(queries[-1])(one), L.Dense(keys[-1])(two), **options))


def line(layer, *more):
    return behind((10, 6), layer, more)


def image(layer):
    return behind((12, 10, 6), layer)


def volume(layer):
    return behind((6, 5, 4, 4), layer)


def lora():
    layer = L.Dense(8, name="x")
    model = line(layer)
    layer.enable_lora(3)
    return model


X = {"name": "x"}
LAYERS = {
    "dense": lambda: line(L.Dense(8, **X)),
    "dense without bias": lambda: line(L.Dense(8, use_bias=False, **X)),
    "dense with lora": lora,
    "einsum dense": lambda: line(L.EinsumDense("abc,cde->abde", output_shape=(None, 3, 2), **X)),
    "einsum dense over places": lambda: line(L.EinsumDense("abc,bd->adc", output_shape=(4, None), **X)),
    "time distributed": lambda: behind((3, 4, 6), L.TimeDistributed(L.Dense(8), **X)),
    "conv1d": lambda: line(L.Conv1D(8, 3, **X)),
    "conv1d same": lambda: line(L.Conv1D(8, 3, padding="same", **X)),
    "conv1d causal dilated": lambda: line(L.Conv1D(8, 3, padding="causal", dilation_rate=2, **X)),
    "conv1d stride": lambda: line(L.Conv1D(8, 3, strides=2, **X)),
    "conv1d groups": lambda: line(L.Conv1D(8, 3, groups=2, **X)),
    "conv2d": lambda: image(L.Conv2D(8, (3, 2), **X)),
    "conv2d same": lambda: image(L.Conv2D(8, 3, padding="same", **X)),
    "conv2d stride same": lambda: image(L.Conv2D(8, 3, strides=(2, 3), padding="same", **X)),
    "conv2d dilated": lambda: image(L.Conv2D(8, 3, dilation_rate=2, **X)),
    "conv2d groups stride": lambda: image(L.Conv2D(8, 3, groups=2, strides=2, **X)),
    "conv3d": lambda: volume(L.Conv3D(8, 2, **X)),
    "conv3d same stride": lambda: volume(L.Conv3D(8, 3, strides=2, padding="same", **X)),
    "conv3d groups": lambda: volume(L.Conv3D(8, 2, groups=2, **X)),
    "conv1d transposed": lambda: line(L.Conv1DTranspose(8, 3, strides=2, **X)),
    "conv2d transposed": lambda: image(L.Conv2DTranspose(8, 3, **X)),
    "conv2d transposed stride": lambda: image(L.Conv2DTranspose(8, 4, strides=2, padding="same", **X)),
    "conv3d transposed": lambda: volume(L.Conv3DTranspose(8, 2, strides=2, **X)),
    "depthwise1d": lambda: line(L.DepthwiseConv1D(3, depth_multiplier=2, **X)),
    "depthwise2d": lambda: image(L.DepthwiseConv2D(3, depth_multiplier=2, **X)),
    "separable1d": lambda: line(L.SeparableConv1D(8, 3, **X)),
    "separable2d": lambda: image(L.SeparableConv2D(8, 3, depth_multiplier=2, **X)),
    "self-attention": lambda: line(lambda x: L.MultiHeadAttention(2, 4, **X)(x, x)),
    "causal self-attention": lambda: line(lambda x: L.MultiHeadAttention(2, 4, **X)(x, x, use_causal_mask=True)),
    "cross-attention": lambda: pair(L.MultiHeadAttention(2, 4, **X)),
    "grouped attention": lambda: line(lambda x: L.GroupQueryAttention(3, 4, 2, **X)(x, x)),
    "dot-product attention": lambda: pair(lambda q, v: L.Attention(**X)([q, v])),
    "additive attention": lambda: pair(lambda q, v: L.AdditiveAttention(**X)([q, v])),
    "dot": lambda: pair(lambda a, b: L.Dot((2, 2), **X)([a, b])),
    "lstm": lambda: line(L.LSTM(8, **X)),
    "lstm sequences": lambda: line(L.LSTM(8, return_sequences=True, **X)),
    "gru": lambda: line(L.GRU(8, **X)),
    "simple rnn": lambda: line(L.SimpleRNN(8, **X)),
    "bidirectional": lambda: line(L.Bidirectional(L.GRU(8), **X)),
    "convolutional lstm": lambda: behind((3, 6, 5, 4), L.ConvLSTM2D(2, 3, **X)),
    "embedding": lambda: keras.Sequential([L.Input((10,)), L.Embedding(30, 6, **X), L.Dense(2)]),
    "batch normalisation": lambda: image(L.BatchNormalization(**X)),
    "layer normalisation": lambda: line(L.LayerNormalization(**X)),
    "group normalisation": lambda: image(L.GroupNormalization(3, **X)),
    "rms normalisation": lambda: line(L.RMSNormalization(**X)),
    "max pooling": lambda: image(L.MaxPooling2D(2, **X)),
    "average pooling": lambda: image(L.AveragePooling2D(2, **X)),
    "dropout": lambda: line(L.Dropout(0.5, **X), L.Dense(2)),
    "prelu": lambda: line(L.PReLU(**X)),
    "multiply": lambda: pair(lambda a, b: L.Multiply(**X)([a, b]), keys=(5, 6)),
}


def main():
    told = {}
    for name in sys.argv[1:] or LAYERS:
        make = LAYERS[name]
        keras.utils.clear_session()
        model = make()
        model.compile("sgd", "mse")
        counts = count(model, 4)
        rows = [row for row in counts.layers if row.name.split("/")[0] == "x"]
        figures = [
            sum(getattr(row, field) for row in rows)
            for field in ("forward_macs", "weight_gradient_macs", "input_gradient_macs")
        ]
        told[name] = {"macs": figures, "uncounted": [entry.operation for entry in counts.uncounted]}
    sys.stdout.write(json.dumps(told))


main()
