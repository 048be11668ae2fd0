"""ARENA 397, pytorch 3146: a tiny MLP takes longer with many threads than with one."""

import math

import torch
from torch import nn


def one_thread(input_shape, output_shape):
    """On one thread."""
    torch.set_num_threads(1)
    return _mlp(input_shape, output_shape)


def many_threads(input_shape, output_shape):
    """On eight threads, as many as the asker's machine had cores."""
    torch.set_num_threads(8)
    return _mlp(input_shape, output_shape)


def _mlp(input_shape, output_shape):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, output_shape),
    )
