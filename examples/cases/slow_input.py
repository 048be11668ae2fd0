"""keras 7168, keras-retinanet 687: training that waits for its data; any two models then take about the same time."""

import time

import keras
import numpy as np
from keras import layers

SAMPLES, BATCH, CLASSES = 3200, 32, 10


def small(input_shape, output_shape):
    """A network that takes about a millisecond a step."""
    return _model(8, input_shape, output_shape)


def large(input_shape, output_shape):
    """One that takes several."""
    return _model(48, input_shape, output_shape)


def slow():
    """Images that are read and decoded one batch at a time, 25 ms for each; for ``--data``."""
    generator = np.random.default_rng(0)
    x = generator.random((SAMPLES, 28, 28, 1), dtype=np.float32)
    y = generator.integers(CLASSES, size=SAMPLES).astype("int32")

    def batches():
        while True:
            for start in range(0, SAMPLES, BATCH):
                time.sleep(0.025)
                yield x[start : start + BATCH], y[start : start + BATCH]

    return {"x": batches(), "steps_per_epoch": SAMPLES // BATCH, "classes": CLASSES}


def _model(filters, input_shape, output_shape):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(filters, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(output_shape, activation="softmax"),
        ]
    )
