"""A healthy plain PyTorch module, and the same with one thing at a time made slow."""

import time

import torch
from torch import nn

torch.set_num_threads(1)  # healthy for layers as small as these; one plant changes it

WIDE, TABLE, LOOPS = 6000, 200_000, 60


def _body():
    return [
        nn.Conv2d(1, 16, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
    ]


def healthy():
    """A small convolutional network."""
    return nn.Sequential(*_body(), nn.Linear(576, 128), nn.ReLU(), nn.Linear(128, 10))


def healthy_dense():
    """A small dense network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


class PythonLayer(nn.Module):
    """Python code that takes 10 ms."""

    def forward(self, x):
        """The same values."""
        time.sleep(0.01)
        return x


class Named(nn.Module):
    """Layers one after the other, one of which is called ``planted``."""

    def __init__(self, before, planted, after):
        super().__init__()
        self.before = nn.Sequential(*before)
        self.planted = planted
        self.after = nn.Sequential(*after)

    def forward(self, x):
        """``x``: a batch of images."""
        return self.after(self.planted(self.before(x)))


def python_layer():
    """A layer with slow Python in it."""
    return Named(_body(), PythonLayer(), [nn.Linear(576, 128), nn.ReLU(), nn.Linear(128, 10)])


class Loop(nn.Module):
    """Runs through its sequence one element at a time."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(28))

    def forward(self, x):
        """``x``: (batch, 1, rows, columns)."""
        state = torch.zeros_like(x[:, 0, 0])
        for step in range(LOOPS):
            state = torch.tanh(0.5 * state + self.scale * x[:, 0, step % x.shape[2]])
        return state


def unfused_loop():
    """A loop of small operations where one would do."""
    return Named([], Loop(), [nn.Linear(28, 64), nn.ReLU(), nn.Linear(64, 10)])


class Mean(nn.Module):
    """The mean of a sequence."""

    def forward(self, x):
        """``x``: (batch, words, width)."""
        return x.mean(1)


def huge_embedding():
    """A table of which a step needs a few rows, and whose every row a dense update goes through."""
    return Named([], nn.Embedding(TABLE, 64), [Mean(), nn.Linear(64, 10)])


class Copies(nn.Module):
    """Turns its input around and back, in another type, several times."""

    def forward(self, x):
        """The same values."""
        for _ in range(6):
            x = x.double().transpose(2, 3).contiguous()
            x = x.transpose(2, 3).contiguous().float()
        return x


def copies():
    """Casts and copies between two layers."""
    return Named(
        [nn.Conv2d(1, 64, 3, padding=1), nn.ReLU()], Copies(), [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    )


def wide():
    """One layer far wider than the others."""
    return Named(_body(), nn.Linear(576, WIDE), [nn.ReLU(), nn.Linear(WIDE, 128), nn.ReLU(), nn.Linear(128, 10)])


def slow_pooling():
    """Pooling with large overlapping windows."""
    return Named([nn.Conv2d(1, 8, 3, padding=1)], nn.MaxPool2d(9, 1, 4), [nn.Flatten(), nn.Linear(8 * 784, 10)])


DENORMAL, NORMAL = 1e-39, 1e-9
"""Of float32, which is denormal below 1.2e-38."""


def _products(value):
    planted = nn.Linear(784, 1024)
    with torch.no_grad():
        planted.weight.fill_(value)
    planted.weight.requires_grad_(False)  # or the first update would end it
    return Named([nn.Flatten()], planted, [nn.Linear(1024, 512), nn.Linear(512, 10)])


def denormal():
    """Weights that are denormal, in products; some processors compute them in microcode, others as fast as any."""
    return _products(DENORMAL)


def normal():
    """The same with normal weights."""
    return _products(NORMAL)


class Roots(nn.Module):
    """A linear layer whose matrix is the root of what it keeps, as of a variance."""

    def __init__(self, value):
        super().__init__()
        self.squares = nn.Parameter(torch.full((784, 1024), value), requires_grad=False)

    def forward(self, x):
        """``x``: (batch, 784)."""
        return x @ self.squares.sqrt()


def denormal_roots():
    """Roots of denormal numbers, which every processor takes many times as long for."""
    return Named([nn.Flatten()], Roots(DENORMAL), [nn.Linear(1024, 10)])


def normal_roots():
    """The same with normal numbers."""
    return Named([nn.Flatten()], Roots(NORMAL), [nn.Linear(1024, 10)])


def many_threads():
    """More threads than there are processors, for layers that are far too small for them."""
    torch.set_num_threads(8)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
