"""Data for planted causes: arrays, a slow stream, a slow callback, validation in every epoch."""

import time

import numpy as np

SAMPLES, BATCH, CLASSES = 3200, 32, 10


def _arrays(shape=(28, 28, 1), samples=SAMPLES):
    generator = np.random.default_rng(0)
    x = generator.random((samples, *shape), dtype=np.float32)
    return x, generator.integers(CLASSES, size=samples).astype("int32")


def images():
    """Arrays of images."""
    return _arrays()


def tokens():
    """Sequences of word numbers."""
    generator = np.random.default_rng(0)
    return generator.integers(200_000, size=(SAMPLES, 20)).astype("int32"), generator.integers(CLASSES, size=SAMPLES)


def slow_stream():
    """A generator that takes 20 ms for each batch."""
    x, y = _arrays()

    def batches():
        while True:
            for start in range(0, SAMPLES, BATCH):
                time.sleep(0.02)
                yield x[start : start + BATCH], y[start : start + BATCH]

    return {"x": batches(), "steps_per_epoch": SAMPLES // BATCH, "classes": CLASSES}


def slow_stream_channels_first():
    """The same as PyTorch takes images."""
    given = slow_stream()
    return {**given, "x": ((x.transpose(0, 3, 1, 2).copy(), y) for x, y in given["x"])}


def slow_callback():
    """A callback that takes 20 ms after each batch."""
    import keras

    class Slow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            time.sleep(0.02)

    x, y = _arrays()
    return {"x": x, "y": y, "callbacks": [Slow()]}


def validation():
    """Validation data ten times as many as training data, after every epoch."""
    x, y = _arrays(samples=640)
    return {"x": x, "y": y, "validation_data": _arrays(samples=12800)}
