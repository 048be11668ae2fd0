"""Counts models whose counts are known by hand, on the active Keras backend, and prints them as JSON.

Run in a process of its own for each backend, because Keras fixes its backend when it is imported.
"""

from __future__ import annotations

import json
import sys

import keras
import msgspec
import numpy as np

from epochwise.counting import count

L, ops = keras.layers, keras.ops
BATCH = 8


def compiled(model, loss="mse", optimizer="sgd", **options):
    model.compile(optimizer, loss, **options)
    return model


def chain(shape, *layers, **options):
    return compiled(keras.Sequential([keras.Input(shape), *layers]), **options)


def question_mlp():
    layers = [L.Flatten(name="flatten"), L.Dense(64, "relu", name="a"), L.Dense(64, "relu", name="b"), L.Dense(10, "softmax")]
    return chain((28, 28), *layers, loss="sparse_categorical_crossentropy", metrics=["accuracy"])


def question_cnn():
    return chain(
        (28, 28, 1),
        L.Conv2D(16, 3, activation="relu", name="first"),
        L.MaxPooling2D(2, name="pool"),
        L.Conv2D(8, 3, activation="relu", name="second"),
        L.MaxPooling2D(2),
        L.Flatten(name="flatten"),
        L.Dense(10, "softmax", name="last"),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


class Mixer(keras.layers.Layer):
    """Only functional operations: an einsum with a weight, and its activation."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 7))

    def call(self, x):
        return ops.relu(ops.einsum("btc,cd->btd", x, self.kernel))


class SelfAttention(keras.layers.Layer):
    """Two products of activations, no weights."""

    def call(self, x):
        return ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x)


class LowRank(keras.layers.Layer):
    """A product of two weights, then one with the data."""

    def build(self, shape):
        self.down = self.add_weight(shape=(shape[-1], 2))
        self.up = self.add_weight(shape=(2, 7))

    def call(self, x):
        return ops.matmul(x, ops.matmul(self.down, self.up))


class Shift(keras.layers.Layer):
    """A trainable bias alone: the gradient of what follows ends in it as soon as it is summed."""

    def build(self, shape):
        self.bias = self.add_weight(shape=(shape[-1],))

    def call(self, x):
        return x + self.bias


class Orthogonal(keras.layers.Layer):
    """Uses a decomposition that has no rule."""

    def call(self, x):
        return ops.matmul(x, ops.stop_gradient(ops.qr(ops.eye(4))[0]) + ops.qr(ops.mean(x) * ops.eye(4))[0])


def shared():
    layer = L.Dense(5, name="shared")
    given = keras.Input((5,))
    return compiled(keras.Model(given, layer(layer(L.Dense(5, name="first")(given)))))


def frozen():
    still = L.Dense(5, name="frozen")
    still.trainable = False
    return chain((4,), L.Dense(5, name="first"), still, L.Dense(2, name="last"))


def residual():
    given = keras.Input((8, 8, 4))
    one = L.Conv2D(4, 3, padding="same", name="one")(given)
    two = L.Conv2D(4, 3, padding="same", name="two")(one)
    return compiled(keras.Model(given, L.Flatten()(ops.relu(one + two)), name="residual"))


def nested():
    encoder = keras.Sequential([L.Dense(4, name="a"), L.Dense(4, name="b")], name="encoder")
    return chain((3,), encoder, L.Dense(1, name="head"))


class Subclassed(keras.Model):
    """Not built before data is seen."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.one, self.two = L.Dense(4, name="one"), L.Dense(2, name="two")

    def call(self, x):
        return self.two(ops.tanh(self.one(x)))


def attention():
    given = keras.Input((6, 8))
    hidden = L.Dense(8, name="first")(given)
    return compiled(keras.Model(given, L.MultiHeadAttention(2, 4, name="heads")(hidden, hidden)))


def tied():
    table = L.Embedding(11, 6, name="table")

    class Logits(keras.layers.Layer):
        def call(self, x):
            return ops.matmul(x, ops.transpose(table.embeddings))

    given = keras.Input((4,), dtype="int32")
    logits = Logits(name="logits")(L.Dense(6, name="hidden")(table(given)))
    return compiled(keras.Model(given, logits), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))


MODELS = {
    "question_mlp": question_mlp,
    "question_cnn": question_cnn,
    "strided": lambda: chain((9, 9, 3), L.Conv2D(3, 1), L.Conv2D(4, 3, strides=2, name="x")),
    "same": lambda: chain((9, 9, 3), L.Conv2D(3, 1), L.Conv2D(4, 3, strides=2, padding="same", name="x")),
    "dilated": lambda: chain((12, 12, 4), L.Conv2D(4, 1), L.Conv2D(8, 3, dilation_rate=2, name="x")),
    "grouped": lambda: chain((8, 8, 4), L.Conv2D(8, 1), L.Conv2D(8, 3, groups=4, name="x")),
    "depthwise": lambda: chain((8, 8, 4), L.Conv2D(8, 1), L.DepthwiseConv2D(3, name="x")),
    "transposed": lambda: chain((5, 5, 3), L.Conv2D(4, 1), L.Conv2DTranspose(6, 3, strides=2, padding="same", name="x")),
    "one_dimension": lambda: chain((10, 3), L.Conv1D(3, 1), L.Conv1D(4, 3, name="x")),
    "three_dimensions": lambda: chain((5, 5, 5, 2), L.Conv3D(2, 1), L.Conv3D(3, 2, name="x")),
    "einsum_dense": lambda: chain((6, 5), L.Dense(5), L.EinsumDense("abc,cd->abd", output_shape=(None, 7), name="x")),
    "mixer": lambda: chain((6, 5), L.Dense(5), Mixer(name="x")),
    "self_attention": lambda: chain((5, 4), L.Dense(3), SelfAttention(name="x")),
    "low_rank": lambda: chain((6,), L.Dense(6), LowRank(name="x")),
    "shift": lambda: chain((4,), Shift(name="shift"), L.Dense(3, name="x")),
    "orthogonal": lambda: chain((4,), L.Dense(4), Orthogonal(name="x")),
    "shapes": lambda: chain(
        (4, 6), L.Dense(6), L.Reshape((6, 4), name="reshape"), L.Permute((2, 1), name="permute"), L.Flatten()
    ),
    "embedding": lambda: chain((6,), L.Embedding(100, 8, name="x"), L.Flatten(), L.Dense(2)),
    "noisy": lambda: chain((6,), L.Dense(5), L.BatchNormalization(), L.Dropout(0.5), L.Dense(2), optimizer="adam"),
    "shared": shared,
    "frozen": frozen,
    "residual": residual,
    "nested": nested,
    "attention": attention,
    "tied": tied,
    "subclassed": lambda: (compiled(Subclassed()), np.zeros((9, 3), "float32"), np.zeros((9, 2), "float32")),
}


def state(model):
    """Every number that training could change."""
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return {variable.path: np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables}


def main():
    told = {}
    for name, make in MODELS.items():
        made = make()
        model, x, y = made if isinstance(made, tuple) else (made, None, None)
        if x is None:
            model.optimizer.build(model.trainable_variables)
        before = state(model)
        wrapped = keras.layers.Layer.__call__, keras.losses.Loss.__call__, vars(keras.optimizers.Optimizer).get("apply")
        counts = count(model, BATCH, x, y)
        after = state(model)
        told[name] = msgspec.to_builtins(counts)
        told[name]["unchanged"] = all(np.array_equal(before[path], after[path]) for path in before)
        now = keras.layers.Layer.__call__, keras.losses.Loss.__call__, vars(keras.optimizers.Optimizer).get("apply")
        told[name]["unwrapped"] = wrapped == now
    sys.stdout.write(json.dumps(told))


main()
