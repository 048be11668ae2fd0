"""Keras models whose epoch is taken apart: ResNet-50 for small images, a small transformer, and the question's two models.

``eager_`` ones run operation by operation, ``xla_`` ones are compiled, where TensorFlow would make a graph.
"""

import keras
from keras import layers

from epochwise.subjects import question

WORDS, LENGTH, WIDTH, HEADS, BLOCKS = 2000, 64, 64, 4, 2


def resnet50(input_shape, output_shape):
    """ResNet-50 without weights."""
    return keras.applications.ResNet50(weights=None, input_shape=input_shape, classes=output_shape)


def transformer(input_shape, output_shape):
    """An encoder over word numbers, with a classifier."""
    words = keras.Input(input_shape, dtype="int32")
    x = layers.Embedding(WORDS, WIDTH)(words)
    for _ in range(BLOCKS):
        x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(x, x)]))
        inner = layers.Dense(WIDTH)(layers.Dense(4 * WIDTH, activation="gelu")(x))
        x = layers.LayerNormalization()(layers.Add()([x, inner]))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(words, layers.Dense(output_shape, activation="softmax")(x))


def mlp(input_shape, output_shape):
    """The question's MLP."""
    return question.build_model_seq(input_shape, output_shape)


def cnn(input_shape, output_shape):
    """The question's CNN."""
    return question.build_model_cnn(input_shape, output_shape)


def _eager(model):
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


def _xla(model):
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=True)
    return model


def eager_mlp(input_shape, output_shape):
    """Operation by operation."""
    return _eager(mlp(input_shape, output_shape))


def eager_cnn(input_shape, output_shape):
    """Operation by operation."""
    return _eager(cnn(input_shape, output_shape))


def eager_resnet50(input_shape, output_shape):
    """Operation by operation."""
    return _eager(resnet50(input_shape, output_shape))


def eager_transformer(input_shape, output_shape):
    """Operation by operation."""
    return _eager(transformer(input_shape, output_shape))


def xla_mlp(input_shape, output_shape):
    """Compiled."""
    return _xla(mlp(input_shape, output_shape))


def xla_cnn(input_shape, output_shape):
    """Compiled."""
    return _xla(cnn(input_shape, output_shape))


def xla_resnet50(input_shape, output_shape):
    """Compiled."""
    return _xla(resnet50(input_shape, output_shape))


def xla_transformer(input_shape, output_shape):
    """Compiled."""
    return _xla(transformer(input_shape, output_shape))
