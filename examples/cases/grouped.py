"""pytorch 70954 and tensorflow 49147: "Training grouped Conv2D is slow"."""

from tensorflow import keras
from tensorflow.keras import layers


def dense(input_shape, output_shape):
    """One group: each output channel sees every input channel."""
    return _model(1, input_shape, output_shape)


def grouped(input_shape, output_shape):
    """Eight groups: 8 times fewer multiply-accumulates in the convolution."""
    return _model(8, input_shape, output_shape)


def _model(groups, input_shape, output_shape):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(64, 3, padding="same", groups=groups, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(output_shape, activation="softmax"),
        ]
    )
