"""The published models for MNIST-1D, in Keras."""

from __future__ import annotations

import math
from typing import Any

import keras

from epochwise.experiments.mnist1d import CLASSES, LENGTH
from epochwise.experiments.models.keras import draw_weights

_RATE = 0.01
_PYTORCHS_EPSILON = 1e-8
_CHANNELS = 25
_HIDDEN = 100


def build(name: str, seed: int) -> Any:
    """A compiled model of the authors' benchmark: ``cnn`` (5,210 parameters), ``mlp`` (15,210) or ``linear`` (410)."""
    inputs = keras.Input((LENGTH, 1) if name == "cnn" else (LENGTH,))
    outputs = {"cnn": _cnn, "mlp": _mlp, "linear": _linear}[name](inputs)
    model = keras.Model(inputs, outputs, name=name)
    model.compile(
        optimizer=keras.optimizers.Adam(_RATE, epsilon=_PYTORCHS_EPSILON),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    draw_weights(model, seed)
    return model


def _cnn(x: Any) -> Any:
    for taps, channels in ((5, 1), (3, _CHANNELS), (3, _CHANNELS)):
        options = _as_pytorch_draws(taps * channels)
        x = keras.layers.ZeroPadding1D(1)(x)
        x = keras.layers.Conv1D(_CHANNELS, taps, strides=2, activation="relu", **options)(x)
    return _linear(keras.layers.Flatten()(x))


def _mlp(x: Any) -> Any:
    first = keras.layers.Dense(_HIDDEN, activation="relu", **_as_pytorch_draws(LENGTH))(x)
    second = keras.layers.Dense(_HIDDEN, activation="relu", **_as_pytorch_draws(_HIDDEN))(first)
    return _linear(keras.layers.Add()([first, second]))


def _linear(x: Any) -> Any:
    return keras.layers.Dense(CLASSES, **_as_pytorch_draws(x.shape[-1]))(x)


def _as_pytorch_draws(fan_in: int) -> dict[str, Any]:
    """Weights and biases between plus and minus ``1 / sqrt(fan_in)``."""
    limit = 1 / math.sqrt(fan_in)
    return {
        "kernel_initializer": keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        "bias_initializer": keras.initializers.RandomUniform(-limit, limit),
    }
