"""Small architectures, each written once, for Keras on any backend and for plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Layer = tuple[Any, ...]


@dataclass(frozen=True)
class Architecture:
    """A classifier of ten classes.

    Attributes:
        shape: of a sample, channels last.
        layers: what it is made of; ``residual`` holds layers whose result is added to their input.
        optimizer: Keras's name.
    """

    shape: tuple[int, ...]
    layers: Sequence[Layer]
    optimizer: str = "sgd"


def mlp(*widths: int) -> Architecture:
    """Dense layers with relu."""
    hidden = [layer for width in widths for layer in (("dense", width), ("relu",))]
    return Architecture((28, 28, 1), [("flatten",), *hidden, ("dense", 10)])


def _block(filters: int, stride: int = 1) -> list[Layer]:
    return [("conv", filters, 3, "same", stride), ("bn",), ("relu",)]


def _separable(filters: int, stride: int = 1) -> list[Layer]:
    return [("depthwise", 3, stride), ("bn",), ("relu",), ("conv", filters, 1, "same", 1), ("bn",), ("relu",)]


def _residual(filters: int, stride: int) -> list[Layer]:
    inside = [*_block(filters, stride), ("conv", filters, 3, "same", 1), ("bn",)]
    shortcut = [] if stride == 1 else [("conv", filters, 1, "same", stride)]
    return [("residual", inside, shortcut), ("relu",)]


LADDER = {
    "question CNN": Architecture(
        (28, 28, 1),
        [
            *(("conv", 16, 3, "valid", 1), ("relu",), ("max", 2)),
            *(("conv", 8, 3, "valid", 1), ("relu",), ("max", 2)),
            *(("flatten",), ("dense", 10)),
        ],
    ),
    "question MLP": mlp(64, 64),
    "LeNet-5": Architecture(
        (28, 28, 1),
        [
            *(("conv", 6, 5, "same", 1), ("tanh",), ("mean", 2), ("conv", 16, 5, "valid", 1), ("tanh",), ("mean", 2)),
            *(("flatten",), ("dense", 120), ("tanh",), ("dense", 84), ("tanh",), ("dense", 10)),
        ],
    ),
    "Keras MNIST convnet": Architecture(
        (28, 28, 1),
        [
            *(("conv", 32, 3, "valid", 1), ("relu",), ("max", 2), ("conv", 64, 3, "valid", 1), ("relu",), ("max", 2)),
            *(("flatten",), ("dropout", 0.5), ("dense", 10)),
        ],
        "adam",
    ),
    "3 blocks with BatchNorm": Architecture(
        (32, 32, 3),
        [
            *(layer for filters in (16, 32, 64) for layer in (*_block(filters), *_block(filters), ("max", 2))),
            *(("global",), ("dense", 10)),
        ],
    ),
    "residual": Architecture(
        (32, 32, 3),
        [*_block(16), *_residual(16, 1), *_residual(32, 2), *_residual(64, 2), ("global",), ("dense", 10)],
    ),
    "separable": Architecture(
        (32, 32, 3),
        [*_block(16, 2), *_separable(32), *_separable(64, 2), *_separable(64), ("global",), ("dense", 10)],
        "adam",
    ),
    "1-D CNN": Architecture(
        (128, 4),
        [
            *(("conv", 16, 5, "valid", 1), ("relu",), ("max", 2), ("conv", 32, 5, "valid", 1), ("relu",), ("max", 2)),
            *(("flatten",), ("dense", 10)),
        ],
    ),
    "MLP 16-16": mlp(16, 16),
    "MLP 256-256": mlp(256, 256),
    "MLP 512-512": mlp(512, 512),
    "MLP 1024-1024": mlp(1024, 1024),
}


def in_keras(architecture: Architecture) -> Any:
    """A compiled Keras model."""
    import keras

    one = len(architecture.shape) == len(("length", "channels"))
    layers = keras.layers
    conv, pool = (layers.Conv1D, layers.MaxPooling1D) if one else (layers.Conv2D, layers.MaxPooling2D)

    def put(x: Any, listed: Sequence[Layer]) -> Any:
        for kind, *options in listed:
            match kind:
                case "conv":
                    filters, size, padding, stride = options
                    x = conv(filters, size, strides=stride, padding=padding)(x)
                case "depthwise":
                    x = layers.DepthwiseConv2D(options[0], strides=options[1], padding="same")(x)
                case "dense":
                    x = layers.Dense(options[0])(x)
                case "bn":
                    x = layers.BatchNormalization()(x)
                case "max":
                    x = pool(options[0])(x)
                case "mean":
                    x = layers.AveragePooling2D(options[0])(x)
                case "global":
                    x = layers.GlobalAveragePooling2D()(x)
                case "flatten":
                    x = layers.Flatten()(x)
                case "dropout":
                    x = layers.Dropout(options[0])(x)
                case "residual":
                    x = layers.add([put(x, options[0]), put(x, options[1])])
                case _:
                    x = layers.Activation(kind)(x)
        return x

    inputs = keras.Input(architecture.shape)
    outputs = layers.Activation("softmax")(put(inputs, architecture.layers))
    model = keras.Model(inputs, outputs)
    model.compile(architecture.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def in_torch(architecture: Architecture) -> Any:
    """A ``torch.nn.Module`` that takes channels first and gives logits."""
    import torch
    from torch import nn

    one = len(architecture.shape) == len(("length", "channels"))

    class Residual(nn.Module):
        """Two ways, added."""

        def __init__(self, inside: Sequence[Layer], shortcut: Sequence[Layer]) -> None:
            super().__init__()
            self.inside, self.shortcut = make(inside), make(shortcut)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """The sum of both."""
            total: torch.Tensor = self.inside(x) + self.shortcut(x)
            return total

    def make(listed: Sequence[Layer]) -> nn.Sequential:
        made: list[nn.Module] = []
        for kind, *options in listed:
            match kind:
                case "conv":
                    filters, size, padding, stride = options
                    lazy = nn.LazyConv1d if one else nn.LazyConv2d
                    made.append(lazy(filters, size, stride=stride, padding=size // 2 if padding == "same" else 0))
                case "depthwise":
                    made.append(Depthwise(options[0], options[1]))
                case "dense":
                    made.append(nn.LazyLinear(options[0]))
                case "bn":
                    made.append(nn.LazyBatchNorm2d(eps=1e-3))
                case "max":
                    made.append((nn.MaxPool1d if one else nn.MaxPool2d)(options[0]))
                case "mean":
                    made.append(nn.AvgPool2d(options[0]))
                case "global":
                    made += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
                case "flatten":
                    made.append(nn.Flatten())
                case "dropout":
                    made.append(nn.Dropout(options[0]))
                case "residual":
                    made.append(Residual(*options))
                case _:
                    made.append({"relu": nn.ReLU, "tanh": nn.Tanh}[kind]())
        return nn.Sequential(*made)

    class Depthwise(nn.Module):
        """One filter for each channel, whose number is known when it is first called."""

        def __init__(self, size: int, stride: int) -> None:
            super().__init__()
            self.size, self.stride = size, stride
            self.conv: nn.Module | None = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Each channel by itself."""
            if self.conv is None:
                channels = x.shape[1]
                self.conv = nn.Conv2d(channels, channels, self.size, self.stride, self.size // 2, groups=channels)
            result: torch.Tensor = self.conv(x)
            return result

    model = make(architecture.layers)
    *pixels, channels = architecture.shape
    model(torch.zeros(2, channels, *pixels))  # lazy layers learn their sizes
    return model
