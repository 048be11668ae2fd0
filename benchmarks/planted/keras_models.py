"""A healthy Keras model, and the same model with one thing at a time made slow."""

import time

import keras
import numpy as np
from keras import layers

if keras.backend.backend() == "torch":
    import torch

    torch.set_num_threads(1)  # healthy for layers as small as these; one plant changes it

WIDE, TABLE, LOOPS, ROWS = 6000, 200_000, 60, 16_000


def _model(*layers_, input_shape, output_shape, optimizer="sgd", **compiling):
    model = keras.Sequential([keras.Input(input_shape), *layers_, layers.Dense(output_shape, activation="softmax")])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"], **compiling)
    return model


def _body():
    return [
        layers.Conv2D(16, 3, strides=2, activation="relu"),
        layers.Conv2D(16, 3, strides=2, activation="relu"),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
    ]


def healthy(input_shape, output_shape):
    """A small convolutional network."""
    return _model(*_body(), input_shape=input_shape, output_shape=output_shape)


def healthy_dense(input_shape, output_shape):
    """A small dense network."""
    middle = [layers.Flatten(), layers.Dense(256, activation="relu"), layers.Dense(256, activation="relu")]
    return _model(*middle, input_shape=input_shape, output_shape=output_shape)


class PythonLayer(layers.Layer):
    """Hands its input to Python and takes it back."""

    def call(self, x):
        """The same values, after a detour of 10 ms."""
        backend = keras.backend.backend()
        if backend == "tensorflow":
            import tensorflow as tf

            y = tf.numpy_function(_detour, [x], x.dtype)
            y.set_shape(x.shape)
            return tf.stop_gradient(y - x) + x
        if backend == "jax":
            import jax

            y = jax.pure_callback(_detour, jax.ShapeDtypeStruct(x.shape, x.dtype), jax.lax.stop_gradient(x))
            return jax.lax.stop_gradient(y - x) + x
        time.sleep(0.01)
        return x

    def compute_output_shape(self, input_shape):
        """As it came."""
        return input_shape


def _detour(x):
    time.sleep(0.01)
    return np.asarray(x)


def python_layer(input_shape, output_shape):
    """A layer that calls back into Python."""
    body = _body()
    return _model(*body[:2], PythonLayer(name="planted"), *body[2:], input_shape=input_shape, output_shape=output_shape)


class Loop(layers.Layer):
    """Runs through its sequence one element at a time, unrolled."""

    def build(self, input_shape):
        """One weight for each feature."""
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, x):
        """A running mean that could be one operation."""
        state = x[:, 0] * 0
        for step in range(LOOPS):
            state = keras.ops.tanh(0.5 * state + self.scale * x[:, step % x.shape[1]])
        return state


def unfused_loop(input_shape, output_shape):
    """A loop of small operations where one would do."""
    rows = layers.Reshape((input_shape[0], -1))
    middle = [rows, Loop(name="planted"), layers.Dense(64, activation="relu")]
    return _model(*middle, input_shape=input_shape, output_shape=output_shape)


def huge_embedding(input_shape, output_shape):
    """A table of which a step needs a few rows, and whose every row a dense update goes through."""
    middle = [layers.Embedding(TABLE, 64, name="planted"), layers.GlobalAveragePooling1D(), layers.Dense(32, activation="relu")]
    return _model(*middle, input_shape=input_shape, output_shape=output_shape, optimizer="adam")


class Mean(layers.Layer):
    """Many weights of which a step needs no more than the mean."""

    def build(self, input_shape):
        """A tall matrix."""
        self.matrix = self.add_weight(shape=(ROWS, input_shape[-1]))

    def call(self, x):
        """The samples, moved by the mean row."""
        return x + keras.ops.mean(self.matrix, axis=0)


def much_state(input_shape, output_shape):
    """An optimizer that keeps two more numbers for each of many weights that a step hardly uses."""
    middle = [layers.Flatten(), layers.Dense(256, activation="relu"), Mean(name="many")]
    return _model(*middle, input_shape=input_shape, output_shape=output_shape, optimizer=keras.optimizers.AdamW(1e-4))


class Copies(layers.Layer):
    """Turns its input around and back, in another type, several times."""

    def call(self, x):
        """The same values."""
        for _ in range(6):
            x = keras.ops.transpose(keras.ops.cast(x, "float64"), (0, 2, 1, 3))
            x = keras.ops.cast(keras.ops.transpose(x, (0, 2, 1, 3)), "float32")
        return x


def copies(input_shape, output_shape):
    """Casts and copies between two layers."""
    first = layers.Conv2D(64, 3, padding="same", strides=1, activation="relu")
    return _model(
        first, Copies(name="planted"), layers.GlobalAveragePooling2D(), input_shape=input_shape, output_shape=output_shape
    )


def wide(input_shape, output_shape):
    """One layer far wider than the others."""
    body = _body()
    planted = layers.Dense(WIDE, activation="relu", name="planted")
    return _model(*body[:3], planted, body[3], input_shape=input_shape, output_shape=output_shape)


def slow_pooling(input_shape, output_shape):
    """Pooling with large overlapping windows, whose gradient is slow."""
    first = layers.Conv2D(8, 3, padding="same", activation="relu")
    pool = layers.MaxPooling2D(9, strides=1, padding="same", name="planted")
    return _model(first, pool, layers.Flatten(), input_shape=input_shape, output_shape=output_shape)


def compiled(input_shape, output_shape):
    """Compiled by XLA, whose gradient of a depthwise convolution is many times as slow on a CPU as TensorFlow's own."""
    middle = [
        layers.Conv2D(16, 3, activation="relu"),
        layers.DepthwiseConv2D(3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
    ]
    return _model(*middle, input_shape=input_shape, output_shape=output_shape, jit_compile=True)


DENORMAL, NORMAL = 1e-39, 1e-9
"""Of float32, which is denormal below 1.2e-38."""


def _products(value, input_shape, output_shape):
    middle = [layers.Flatten(), layers.Dense(1024, name="planted"), layers.Dense(512)]
    model = _model(*middle, input_shape=input_shape, output_shape=output_shape, optimizer=keras.optimizers.SGD(0.0))
    kernel = model.get_layer("planted").kernel
    kernel.assign(np.full(kernel.shape, value, np.float32))
    return model


def denormal(input_shape, output_shape):
    """Weights that are denormal, in products; some processors compute them in microcode, others as fast as any."""
    return _products(DENORMAL, input_shape, output_shape)


def normal(input_shape, output_shape):
    """The same with normal weights."""
    return _products(NORMAL, input_shape, output_shape)


class Roots(layers.Layer):
    """A dense layer whose matrix is the root of what it keeps, as of a variance."""

    def __init__(self, value, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def build(self, input_shape):
        """A fixed matrix."""
        constant = keras.initializers.Constant(self.value)
        self.squares = self.add_weight(shape=(input_shape[-1], 1024), initializer=constant, trainable=False)

    def call(self, x):
        """The samples times the roots."""
        return keras.ops.matmul(x, keras.ops.sqrt(self.squares))


def _roots(value, input_shape, output_shape):
    return _model(layers.Flatten(), Roots(value, name="planted"), input_shape=input_shape, output_shape=output_shape)


def denormal_roots(input_shape, output_shape):
    """Roots of denormal numbers, which every processor takes many times as long for."""
    return _roots(DENORMAL, input_shape, output_shape)


def normal_roots(input_shape, output_shape):
    """The same with normal numbers."""
    return _roots(NORMAL, input_shape, output_shape)


def many_threads(input_shape, output_shape):
    """More threads than there are processors, for layers that are far too small for them."""
    import torch

    torch.set_num_threads(8)
    middle = [layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(64, activation="relu")]
    return _model(*middle, input_shape=input_shape, output_shape=output_shape)
