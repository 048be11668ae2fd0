"""tensorflow 38236: an LSTM with ``recurrent_dropout`` takes many times as long."""

from tensorflow import keras
from tensorflow.keras import layers


def plain(input_shape, output_shape):
    """Without dropout in the loop."""
    return _model(0.0, input_shape, output_shape)


def with_dropout(input_shape, output_shape):
    """With it: the same arithmetic, and many more operations in each turn of the loop."""
    return _model(0.2, input_shape, output_shape)


def _model(rate, input_shape, output_shape):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.LSTM(64, recurrent_dropout=rate),
            layers.Dense(output_shape, activation="softmax"),
        ]
    )
