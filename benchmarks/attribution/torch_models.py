"""The same in plain PyTorch, eager and compiled; and the question's two models."""

import torch
from torch import nn

WORDS, LENGTH, WIDTH, HEADS, BLOCKS = 2000, 64, 64, 4, 2


class Bottleneck(nn.Module):
    """ResNet's block of three convolutions."""

    def __init__(self, channels, width, stride):
        super().__init__()
        out = 4 * width
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)),
        )
        same = stride == 1 and channels == out
        self.past = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )
        self.last = nn.ReLU()

    def forward(self, x):
        """``x``: (batch, channels, height, width)."""
        return self.last(self.body(x) + self.past(x))


def resnet50():
    """ResNet-50."""
    layers, channels = [], 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(blocks):
            layers.append(Bottleneck(channels, width, stride if number == 0 else 1))
            channels = 4 * width
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Transformer(nn.Module):
    """An encoder over word numbers, with a classifier."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        block = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(block, BLOCKS)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, words):
        """``words``: (batch, length)."""
        return self.head(self.encoder(self.embedding(words)).mean(1))


def transformer():
    """A small transformer."""
    return Transformer()


def cnn():
    """The question's CNN."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(200, 10)),
    )


def mlp():
    """The question's MLP."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def compiled_resnet50():
    """Compiled."""
    return torch.compile(resnet50())


def compiled_transformer():
    """Compiled."""
    return torch.compile(transformer())


def compiled_cnn():
    """Compiled."""
    return torch.compile(cnn())


def compiled_mlp():
    """Compiled."""
    return torch.compile(mlp())
