"""tensorflow 37876: training slows down several times with a callback of one's own."""

import keras
import numpy as np
from keras import layers

SAMPLES = 3200


class WeightWatcher(keras.callbacks.Callback):
    """Looks at all weights after every batch."""

    def on_train_batch_end(self, batch, logs=None):
        """Sorts every weight."""
        self.median = [float(np.median(np.sort(weight, axis=None))) for weight in self.model.get_weights()]


def model(input_shape, output_shape):
    """A small dense network."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dense(output_shape, activation="softmax"),
        ]
    )


def watched():
    """Data, and the callback; for ``--data``."""
    generator = np.random.default_rng(0)
    x = generator.random((SAMPLES, 28, 28, 1), dtype=np.float32)
    return {"x": x, "y": generator.integers(10, size=SAMPLES).astype("int32"), "callbacks": [WeightWatcher()]}
