"""Keras models whose epoch is taken apart: ResNet-50 for small images, and a small transformer."""

import keras
from keras import layers

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
