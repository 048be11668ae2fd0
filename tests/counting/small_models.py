"""Counts small Keras models on the active backend and prints them as JSON: ``python small_models.py [name ...]``.

Run in a process of its own for each backend (``KERAS_BACKEND``); the tests compare what the backends say.
"""

from __future__ import annotations

import importlib
import json
import sys

import keras
import numpy as np

from epochwise.counting.assembling import count_trace
from epochwise.tracing.keras import batch_specs

L = keras.layers
BATCH = 4


def single(shape, *layers):
    """A dense layer or convolution first, so that the layer under test needs the gradient of its input."""
    return keras.Sequential([L.Input(shape), *layers])


def image(*layers):
    return single((12, 10, 6), L.Conv2D(6, 1, name="first"), *layers)


def sequence(*layers):
    return single((7, 6), L.Dense(6, name="first"), *layers)


def volume(*layers):
    return single((6, 5, 4, 4), L.Conv3D(4, 1, name="first"), *layers)


def attention():
    given = L.Input((7, 8))
    hidden = L.Dense(8, name="first")(given)
    return keras.Model(given, L.MultiHeadAttention(2, 4, name="attention")(hidden, hidden))


def shared():
    given = L.Input((8,))
    layer = L.Dense(8, activation="relu", name="shared")
    return keras.Model(given, L.Dense(3)(layer(layer(given))))


def residual():
    given = L.Input((8, 8, 4))
    hidden = L.Conv2D(4, 3, padding="same")(given)
    return keras.Model(given, L.Flatten()(L.Add()([hidden, L.Conv2D(4, 3, padding="same")(hidden)])))


def frozen():
    model = single((9,), L.Dense(8), L.Dense(7, name="frozen"), L.Dense(5))
    model.get_layer("frozen").trainable = False
    return model


def frozen_first():
    model = image(L.Conv2D(5, 3), L.Flatten(), L.Dense(2))
    model.get_layer("first").trainable = False
    return model


def concatenated():
    given = L.Input((8,))
    hidden = L.Dense(4)(given)
    return keras.Model(given, L.Dense(3)(L.Concatenate()([hidden, L.Dense(5)(hidden)])))


def masked(kind):
    """Padding of sentences: the mask goes to the recurrent layer."""
    return lambda: single((7,), L.Embedding(11, 5, mask_zero=True), kind(4), L.Dense(2))


def two_in_two_out():
    first, second = L.Input((6,)), L.Input((4, 3))
    hidden = L.Concatenate()([L.Dense(4)(first), L.Flatten()(L.Conv1D(2, 3)(second))])
    return keras.Model([first, second], [L.Dense(2)(hidden), L.Dense(3)(first)])


def nested(given_shape=(6,)):
    given, inner_given = L.Input(given_shape), L.Input((4,))
    inner = keras.Model(inner_given, L.Dense(4, "tanh")(L.Dense(3)(inner_given)), name="inner")
    return keras.Model(given, inner(inner(L.Dense(4)(given))))


class Subclassed(keras.Model):
    """Layers in a list, one of them called twice, and a product that is in no layer."""

    def __init__(self):
        super().__init__()
        self.first = L.Dense(5)
        self.others = [L.Dense(5, activation="relu"), L.Dense(5)]
        self.mix = self.add_weight(shape=(5, 3), name="mix")

    def call(self, x, training=False):
        x = self.first(x)
        for layer in (*self.others, self.others[0]):
            x = layer(x)
        return keras.ops.matmul(x, self.mix)


class OwnStep(keras.Sequential):
    """A step of one's own around Keras's, and a loss of one's own."""

    def train_step(self, *args):
        return super().train_step(*args)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean((y - y_pred) ** 2) + 1e-3 * keras.ops.sum(keras.ops.square(self.layers[0].kernel))


MODELS = {
    "mlp": lambda: single((28, 28), L.Flatten(), L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(10, "softmax")),
    "cnn": lambda: single(
        (28, 28, 1),
        L.Conv2D(16, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(8, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
        L.Dense(10, "softmax"),
    ),
    "conv_valid": lambda: image(L.Conv2D(5, 3)),
    "conv_same": lambda: image(L.Conv2D(5, 3, padding="same")),
    "conv_stride": lambda: image(L.Conv2D(5, 3, strides=2)),
    "conv_stride_same": lambda: image(L.Conv2D(5, (3, 2), strides=(2, 3), padding="same")),
    "conv_dilated": lambda: image(L.Conv2D(5, 3, dilation_rate=2)),
    "conv_dilated_same": lambda: image(L.Conv2D(5, 3, dilation_rate=2, padding="same")),
    "conv_dilated_odd": lambda: single(
        (7, 5, 3), L.Dense(4), L.Conv2D(6, 2, dilation_rate=2), L.Conv2D(2, 2, dilation_rate=(1, 2))
    ),
    "conv1d_dilated": lambda: sequence(
        L.Conv1D(6, 2, dilation_rate=2, padding="same"), L.Conv1D(3, 3, dilation_rate=2, padding="causal")
    ),
    "depthwise_dilated": lambda: single(
        (7, 9, 3), L.Dense(4), L.DepthwiseConv2D(2, dilation_rate=2), L.SeparableConv2D(3, 3, dilation_rate=2)
    ),
    "conv3d_dilated": lambda: single((5, 7, 5, 3), L.Dense(4), L.Conv3D(3, 2, dilation_rate=2)),
    "transposed_dilated": lambda: image(L.Conv2DTranspose(5, 3, dilation_rate=2)),
    "conv_grouped": lambda: image(L.Conv2D(4, 3, groups=2)),
    "conv_grouped_stride": lambda: image(L.Conv2D(6, 3, groups=3, strides=2, padding="same")),
    "conv1d": lambda: sequence(L.Conv1D(5, 3)),
    "conv1d_causal": lambda: sequence(L.Conv1D(5, 3, padding="causal")),
    "conv3d": lambda: volume(L.Conv3D(5, 2)),
    "conv_bias_relu": lambda: image(L.Conv2D(5, 3, activation="relu"), L.Conv2D(3, 3, use_bias=False)),
    "depthwise": lambda: image(L.DepthwiseConv2D(3, depth_multiplier=2)),
    "depthwise_stride_same": lambda: image(L.DepthwiseConv2D(3, strides=2, padding="same")),
    "separable": lambda: image(L.SeparableConv2D(5, 3)),
    "separable1d": lambda: sequence(L.SeparableConv1D(5, 3)),
    "transposed": lambda: image(L.Conv2DTranspose(5, 3)),
    "transposed_stride": lambda: image(L.Conv2DTranspose(5, 3, strides=2)),
    "transposed_stride_same": lambda: image(L.Conv2DTranspose(5, 4, strides=2, padding="same")),
    "transposed1d": lambda: sequence(L.Conv1DTranspose(5, 3, strides=2)),
    "dense": lambda: sequence(L.Dense(5)),
    "einsum_dense": lambda: sequence(L.EinsumDense("abc,cde->abde", output_shape=(None, 3, 2))),
    "attention": attention,
    "group_attention": lambda: sequence(L.Dense(8), SelfAttention()),
    "lstm": lambda: sequence(L.LSTM(5)),
    "lstm_sequences": lambda: sequence(L.LSTM(5, return_sequences=True)),
    "lstm_first": lambda: single((7, 6), L.LSTM(5)),
    "gru": lambda: sequence(L.GRU(5)),
    "gru_sequences": lambda: sequence(L.GRU(5, return_sequences=True), L.Dense(2)),
    "simple_rnn": lambda: sequence(L.SimpleRNN(5)),
    "bidirectional": lambda: sequence(L.Bidirectional(L.LSTM(5))),
    "batch_norm": lambda: image(L.BatchNormalization()),
    "layer_norm": lambda: sequence(L.LayerNormalization()),
    "group_norm": lambda: image(L.GroupNormalization(3)),
    "rms_norm": lambda: sequence(L.RMSNormalization()),
    "dropout": lambda: sequence(L.Dropout(0.5), L.Dense(3)),
    "dropout_seeded": lambda: sequence(L.Dropout(0.5, seed=3), L.SpatialDropout1D(0.5), L.GaussianNoise(0.1), L.Dense(3)),
    "embedding": lambda: single((7,), L.Embedding(11, 5), L.Flatten(), L.Dense(2)),
    "average_pool": lambda: image(L.AveragePooling2D(2), L.GlobalAveragePooling2D()),
    "max_pool_same": lambda: image(L.MaxPooling2D(3, strides=2, padding="same"), L.GlobalMaxPooling2D()),
    "up_sampling": lambda: image(L.UpSampling2D(2), L.ZeroPadding2D(), L.Cropping2D()),
    "resized": lambda: image(L.Conv2D(3, 3), L.UpSampling2D(2, interpolation="bilinear"), L.Conv2D(2, 3), L.Resizing(5, 7)),
    "spectral": lambda: sequence(L.SpectralNormalization(L.Dense(5)), L.Dense(2)),
    "activations": lambda: sequence(*(L.Dense(6, activation=name) for name in ACTIVATIONS)),
    "prelu": lambda: sequence(L.PReLU(), L.LeakyReLU(), L.Softmax()),
    "shared": shared,
    "residual": residual,
    "frozen": frozen,
    "frozen_first": frozen_first,
    "concatenate": concatenated,
    "two_in_two_out": two_in_two_out,
    "nested": nested,
    "subclassed": Subclassed,
    "own_step": lambda: OwnStep([L.Input((6,)), L.Dense(5, "tanh"), L.Dense(2)]),
    "regularized": lambda: single((6,), L.Dense(5, kernel_regularizer="l2", activity_regularizer="l1"), L.Dense(2)),
    "time_distributed": lambda: sequence(L.TimeDistributed(L.Dense(3)), L.Dense(2)),
    "conv_lstm": lambda: single((4, 6, 3), L.Dense(3), L.ConvLSTM1D(2, 3)),
    "conv_lstm_2d": lambda: single((3, 6, 5, 2), L.ConvLSTM2D(2, 3, return_sequences=True), L.Conv3D(2, 1)),
    "recurrent_dropout": lambda: sequence(L.LSTM(5, dropout=0.1, recurrent_dropout=0.2, return_sequences=True), L.GRU(3)),
    "stacked_cells": lambda: sequence(L.RNN([L.LSTMCell(4), L.GRUCell(3)])),
    "unrolled": lambda: sequence(L.LSTM(5, unroll=True)),
    "masked_lstm": masked(L.LSTM),
    "masked_gru": masked(L.GRU),
    "masked_simple_rnn": masked(L.SimpleRNN),
    "several_steps": lambda: single((6,), L.Dense(5, "relu"), L.Dense(2)),
    "compiled": lambda: single((6,), L.Dense(5, "relu"), L.Dense(2)),
    "float16": lambda: sequence(L.Dense(5), L.LayerNormalization(), L.LSTM(3)),
    "bfloat16": lambda: image(L.Conv2D(5, 3), L.BatchNormalization(), L.Flatten(), L.Dense(2)),
}
ACTIVATIONS = [
    "relu",
    "sigmoid",
    "tanh",
    "gelu",
    "silu",
    "elu",
    "selu",
    "softplus",
    "softmax",
    "leaky_relu",
    "hard_sigmoid",
    "mish",
]
OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "momentum": lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True),
    "rmsprop": keras.optimizers.RMSprop,
    "clipped": lambda: keras.optimizers.SGD(global_clipnorm=1.0),
    "accumulated": lambda: keras.optimizers.SGD(gradient_accumulation_steps=4),
    "accumulated_adam": lambda: keras.optimizers.Adam(gradient_accumulation_steps=2, clipnorm=1.0),
    "schedule": lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 100)),
}


COMPILED = {"several_steps": {"steps_per_execution": 4}, "compiled": {"jit_compile": True}}
POLICIES = {"float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}


class SelfAttention(L.Layer):
    def __init__(self):
        super().__init__()
        self.inner = L.GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)

    def build(self, shape):
        self.inner.build(shape, shape)

    def call(self, x):
        return self.inner(x, x)

    def compute_output_shape(self, shape):
        return shape


def count(name):
    keras.utils.clear_session()
    optimizer = "sgd"
    if name in OPTIMIZERS:
        model, optimizer = single((9,), L.Dense(8, "relu"), L.Dense(7)), OPTIMIZERS[name]()
    else:
        keras.config.set_dtype_policy(POLICIES.get(name, "float32"))
        model = MODELS[name]()
        keras.config.set_dtype_policy("float32")
    if not model.built:
        model.build((BATCH, 6))
    classes = name in ("mlp", "cnn")
    model.compile(
        optimizer=optimizer,
        loss="sparse_categorical_crossentropy" if classes else "mse",
        metrics=["accuracy"] * classes,
        **COMPILED.get(name, {}),
    )
    tracer = importlib.import_module(f"epochwise.tracing.{keras.backend.backend()}")
    x, y = batch_specs(model, BATCH, np.zeros((1, 6), "float32") if name == "subclassed" else None)
    counts = count_trace(tracer.trace(model, x, y, BATCH), name)
    return {
        "parameters": [counts.parameters.trainable, counts.parameters.frozen],
        "forward_macs": counts.per_sample.forward_macs,
        "training_macs": counts.per_sample.training_macs,
        "activation_elements": counts.per_sample.activation_elements,
        "layers": {
            row.name: [
                row.forward_macs,
                row.weight_gradient_macs,
                row.input_gradient_macs,
                row.activation_elements,
                row.parameters,
                row.uses_per_weight,
            ]
            for row in counts.layers
            if not row.name.startswith("(")
        },
        "updates": {row.name: row.update.other_flops for row in counts.layers},
        "notes": counts.notes,
        "uncounted": [unknown.operation for unknown in counts.uncounted],
    }


def main(names):
    counted = {}
    for name in names or [*MODELS, *OPTIMIZERS]:
        try:
            counted[name] = count(name)
        except Exception as error:  # the test names the model that failed
            counted[name] = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(counted) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
