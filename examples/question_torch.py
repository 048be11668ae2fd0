"""The two models of the question in plain PyTorch; they give logits, as PyTorch's cross-entropy takes them.

epochwise compare examples/question_torch.py:build_model_seq examples/question_torch.py:build_model_cnn
"""

import math

from torch import nn


def build_model_seq(input_shape, output_shape):
    """An MLP: 55,050 parameters on images of 28 x 28. ``input_shape`` is (channels, height, width)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, output_shape),
    )


def build_model_cnn(input_shape, output_shape):
    """A CNN: 3,330 parameters on images of 28 x 28. ``input_shape`` is (channels, height, width)."""
    channels, *sides = input_shape
    height, width = (((side - 2) // 2 - 2) // 2 for side in sides)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 8, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * height * width, output_shape),
    )
