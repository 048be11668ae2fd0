"""Why is a CNN slower to train than a fully connected MLP in Keras? (Stack Overflow 43120953)."""

from tensorflow import keras
from tensorflow.keras import layers


def mlp(input_shape, output_shape):
    """The asker's MLP, 784-512-512-10."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(output_shape, activation="softmax"),
        ]
    )


def cnn(input_shape, output_shape):
    """The asker's CNN."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(output_shape, activation="softmax"),
        ]
    )
