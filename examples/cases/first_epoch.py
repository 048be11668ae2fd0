"""keras-core 630, tensorflow 48844: the first epoch takes many times as long as the second."""

import keras
import numpy as np
from keras import layers


def deep(input_shape, output_shape):
    """Many small layers: little to compute, and much to compile."""
    middle = [layer for _ in range(20) for layer in (layers.Dense(32, activation="relu"), layers.BatchNormalization())]
    return keras.Sequential(
        [keras.Input(input_shape), layers.Flatten(), *middle, layers.Dense(output_shape, activation="softmax")]
    )


def little():
    """Few samples, so that an epoch is short; for ``--data``."""
    generator = np.random.default_rng(0)
    return generator.random((1600, 28, 28, 1), dtype=np.float32), generator.integers(10, size=1600).astype("int32")
