"""The two models of the question, as the asker would write them: an ordinary file against ``tf.keras``."""
# A user's file, kept as data; users do not annotate.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import tensorflow as tf


def build_model_seq(input_shape, output_shape):
    """An MLP: 55,050 parameters on images of 28 x 28."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input(shape=input_shape),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(output_shape, activation="softmax"),
        ]
    )
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def build_model_cnn(input_shape, output_shape):
    """A CNN: 3,330 parameters on images of 28 x 28."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input(shape=input_shape),
            tf.keras.layers.Conv2D(16, 3, activation="relu"),
            tf.keras.layers.MaxPooling2D(2),
            tf.keras.layers.Conv2D(8, 3, activation="relu"),
            tf.keras.layers.MaxPooling2D(2),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(output_shape, activation="softmax"),
        ]
    )
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
