"""tensorflow 42172: "DepthwiseConv2D is no faster than Conv2D"."""

from tensorflow import keras
from tensorflow.keras import layers


def dense(input_shape, output_shape):
    """An ordinary convolution with 16 filters."""
    return _model(layers.Conv2D(16, 3), input_shape, output_shape)


def depthwise(input_shape, output_shape):
    """One filter for each channel: 16 times fewer multiply-accumulates in the convolution."""
    return _model(layers.DepthwiseConv2D(3), input_shape, output_shape)


def _model(convolution, input_shape, output_shape):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            convolution,
            layers.GlobalAveragePooling2D(),
            layers.Dense(output_shape, activation="softmax"),
        ]
    )
