"""The question's CNN with one thing changed at a time, to see what each counting convention does to its figures.

``epochwise count examples/variants.py:frozen_first`` prints one of them; docs/conventions.md explains them all.
"""

import keras
from keras import layers


def _compiled(*middle, output_shape, input_shape, optimizer="sgd"):
    model = keras.Sequential(
        [layers.Input(shape=input_shape), *middle, layers.Flatten(), layers.Dense(output_shape, activation="softmax")]
    )
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _cnn(input_shape, output_shape, first=None, second=None, optimizer="sgd"):
    return _compiled(
        layers.Conv2D(16, 3, activation="relu", name="first", **(first or {})),
        layers.MaxPooling2D(2),
        layers.Conv2D(8, 3, activation="relu", name="second", **(second or {})),
        layers.MaxPooling2D(2),
        input_shape=input_shape,
        output_shape=output_shape,
        optimizer=optimizer,
    )


def padded(input_shape, output_shape):
    """Both convolutions pad the image, so that it keeps its size."""
    return _cnn(input_shape, output_shape, first={"padding": "same"}, second={"padding": "same"})


def grouped(input_shape, output_shape):
    """The second convolution has 8 groups: each output channel sees 2 of the 16 input channels."""
    return _cnn(input_shape, output_shape, second={"groups": 8})


def frozen_first(input_shape, output_shape):
    """The first convolution does not learn."""
    return _cnn(input_shape, output_shape, first={"trainable": False})


def frozen_second(input_shape, output_shape):
    """The second convolution does not learn."""
    return _cnn(input_shape, output_shape, second={"trainable": False})


def momentum(input_shape, output_shape):
    """The optimizer keeps one more number for each weight."""
    return _cnn(input_shape, output_shape, optimizer=keras.optimizers.SGD(momentum=0.9))


def shared(input_shape, output_shape):
    """One convolution of 16 on 16 channels, called twice."""
    again = layers.Conv2D(16, 3, padding="same", activation="relu", name="again")
    image = keras.Input(shape=input_shape)
    seen = layers.MaxPooling2D(2)(layers.Conv2D(16, 3, activation="relu", name="first")(image))
    seen = again(again(seen))
    model = keras.Model(image, layers.Dense(output_shape, activation="softmax")(layers.Flatten()(seen)))
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def looped(input_shape, output_shape):
    """A recurrent network that reads the image row by row."""
    rows, columns, channels = input_shape
    return _compiled(
        layers.Reshape((rows, columns * channels)),
        layers.LSTM(16, name="reader"),
        input_shape=input_shape,
        output_shape=output_shape,
    )


class Recomputed(layers.Layer):
    """A convolution whose forward pass is run again in the backward pass, to keep less (Keras 3.9 and newer)."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.convolution = layers.Conv2D(8, 3, activation="relu", name="convolution")

    def build(self, shape):
        """Make the weights."""
        self.convolution.build(shape)

    def call(self, image):
        """Convolve, and keep only what went in."""
        again = keras.remat(lambda image: self.convolution(image))  # noqa: PLW0108 - JAX keeps what it traced of a function
        return again(image)


def recomputed(input_shape, output_shape):
    """The second convolution is computed again in the backward pass."""
    return _compiled(
        layers.Conv2D(16, 3, activation="relu", name="first"),
        layers.MaxPooling2D(2),
        Recomputed(name="second"),
        layers.MaxPooling2D(2),
        input_shape=input_shape,
        output_shape=output_shape,
    )


class Solved(layers.Layer):
    """Multiplies by the inverse of a matrix that it learns: an operation whose cost its shapes do not show."""

    def build(self, shape):
        """Make the weights."""
        self.matrix = self.add_weight(shape=(shape[-1], shape[-1]), initializer="identity", name="matrix")

    def call(self, image):
        """Multiply each position's channels by the inverse."""
        return keras.ops.matmul(image, keras.ops.inv(self.matrix))


def unknown(input_shape, output_shape):
    """A layer with an operation that has no rule."""
    return _compiled(
        layers.Conv2D(16, 3, activation="relu", name="first"),
        layers.MaxPooling2D(2),
        Solved(name="solved"),
        input_shape=input_shape,
        output_shape=output_shape,
    )
