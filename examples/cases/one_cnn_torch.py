"""keras 22561: "Keras on torch is slower than torch". The plain PyTorch side; ``one_cnn_keras.py`` is the other."""

from torch import nn


def build(input_shape, output_shape):
    """The same small convolutional network; ``input_shape`` is (channels, height, width)."""
    channels, *sides = input_shape
    height, width = ((side - 2) // 2 for side in sides)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * height * width, output_shape)
    )
