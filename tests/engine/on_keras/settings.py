"""Losses, metrics and optimizers with all their options."""

from __future__ import annotations

import numpy as np
from keras import layers, losses, optimizers

from tests.engine.on_keras.parity import compare, sequential

LINE = (6,)

LOSSES = {
    "sparse": ("softmax", 4, "sparse_categorical_crossentropy"),
    "sparse_object": ("softmax", 4, losses.SparseCategoricalCrossentropy()),
    "sparse_logits": (None, 4, losses.SparseCategoricalCrossentropy(from_logits=True)),
    "categorical": ("softmax", 4, "categorical_crossentropy"),
    "categorical_function": ("softmax", 4, losses.categorical_crossentropy),
    "categorical_logits": (None, 4, losses.CategoricalCrossentropy(from_logits=True)),
    "categorical_smoothed": ("softmax", 4, losses.CategoricalCrossentropy(label_smoothing=0.2)),
    "binary": ("sigmoid", 1, "binary_crossentropy"),
    "binary_many": ("sigmoid", 3, losses.BinaryCrossentropy()),
    "binary_logits": (None, 2, losses.BinaryCrossentropy(from_logits=True)),
    "binary_smoothed": ("sigmoid", 2, losses.BinaryCrossentropy(label_smoothing=0.3)),
    "binary_softmax": ("softmax", 3, "binary_crossentropy"),
    "binary_of_relu": ("relu", 3, "binary_crossentropy"),
    "mse": (None, 3, "mse"),
    "mse_one": ("tanh", 1, losses.MeanSquaredError()),
}


def model_for(loss, optimizer=None, metrics=("accuracy",), weighted=None):
    ending, units, made = LOSSES[loss]
    model = sequential(LINE, layers.Dense(7, activation="tanh"), layers.Dense(units, activation=ending))
    metrics = ["mae", "mse"] if "mse" in loss else list(metrics)
    model.compile(optimizer=optimizer or optimizers.SGD(0.1), loss=made, metrics=metrics, weighted_metrics=weighted)
    return model


def check_loss(loss):
    """Value, gradient and metrics, also with sample weights."""
    compare(model_for(loss))
    compare(model_for(loss), weight=np.random.default_rng(5).uniform(0, 2, 13).astype("float32"))


def check_saturated(loss):
    """Far out, where TensorFlow still has the logits and the others clip: each as it does."""
    model = model_for(loss)
    x = (60 * np.random.default_rng(2).normal(size=(13, 6))).astype("float32")
    compare(model, x, close=3e-5)
