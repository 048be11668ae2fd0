"""keras 22561: "Keras on torch is slower than torch". The Keras side; ``one_cnn_torch.py`` is the other."""

import keras
from keras import layers


def build(input_shape, output_shape):
    """A small convolutional network."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(output_shape),
        ]
    )
