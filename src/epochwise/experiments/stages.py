"""A model's forward pass, stage by stage, in plain float64: what a shift of the input does to each map.

Products are added one by one in a fixed order, and not by a matrix library, whose rounding depends on where in a matrix a
number stands. So two places that see the same pixels get the same bits, and "equal" can be asked for exactly.

Legend: ``N`` images, ``H W C`` rows, columns and channels of a map. A stage's stride is how many pixels of the image one step
of its map is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

_BORDER = {"valid": 0, "same": 1, "full": 2}
_BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16


class Stage(NamedTuple):
    """What a layer makes of the images.

    Attributes:
        name: such as ``conv 1``.
        values: a map ``(N, H, W, C)``, or ``(N, C)`` behind the last one.
        stride: pixels of the image for one step of the map; 0 where there is no map any more.
        begins: the column of the image with which what the first place sees begins; negative where there is padding.
        sees: how many columns a place sees.
    """

    name: str
    values: Floats
    stride: int
    begins: int = 0
    sees: int = 1

    def holds(self, first: int, last: int) -> bool:
        """Whether every place that sees any of these columns of the image, or would, lies within the map."""
        lowest = -((self.begins + self.sees - 1 - first) // self.stride)
        return lowest >= 0 and (last - self.begins) // self.stride < self.values.shape[2]


def forward(
    layers: Sequence[Sequence[Any]], weights: Sequence[ArrayLike], images: ArrayLike, *, exact: bool = True
) -> list[Stage]:
    """All stages of one of our models; the last one are the logits, before the softmax.

    Args:
        layers: of the model's description, see :mod:`epochwise.experiments.models` (no ``local``, no ``dense-map``).
        weights: in Keras's order and shapes, frozen ones among them.
        images: ``(N, H, W, C)``.
        exact: whether equal pixels must give equal bits; without it a matrix library is used, which is faster.

    Raises:
        ValueError: a layer that this does not know.
    """
    left = iter([np.asarray(weight, np.float64) for weight in weights])
    x = np.asarray(images, np.float64)
    convolved = _convolved if exact else _convolved_fast
    stride, begins, sees, numbers, stages = 1, 0, 1, dict.fromkeys(("conv", "pool", "dense"), 0), []
    for layer in layers:
        kind = str(layer[0])
        name = kind
        if kind == "conv":
            x = _relu(convolved(_padded(x, layer[2]), next(left)) + next(left))
            begins, sees = begins - _BORDER[layer[2]] * stride, sees + 2 * stride
        elif kind == "pool":
            x, stride, sees = _largest(x, 2), 2 * stride, sees + stride
        elif kind == "blur-pool":
            next(left)  # the frozen blur, known here
            begins, sees = begins - _blur_border(x.shape[2] - 1)[0] * stride, sees + 3 * stride
            x, stride = _blur_pooled(x), 2 * stride
        elif kind in ("gap", "gmp"):
            x, stride = x.mean(axis=(1, 2)) if kind == "gap" else x.max(axis=(1, 2)), 0
        elif kind == "flatten":
            x, stride = x.reshape(len(x), -1), 0
            continue  # the same numbers, and no map any more
        elif kind in ("dense", "classes"):
            x = x @ next(left) + next(left)
            x = _relu(x) if kind == "dense" else x
        else:
            raise ValueError(f"a layer of kind {kind} has no stages")
        kind = {"blur-pool": "pool"}.get(kind, kind)
        if kind in numbers:
            numbers[kind] += 1
            name = f"{kind} {numbers[kind]}"
        name = {"classes": "logits", "gap": "global mean", "gmp": "global max"}.get(kind, name)
        stages.append(Stage(name, x, stride, begins, sees))
    return stages


def shift_error(before: Stage, after: Stage, shift: int) -> Floats:
    """How far a stage is from having moved along with the image: ``|phi(T x) - T phi(x)| / |phi(x)|`` for each image ``(N,)``.

    Args:
        before: of the images.
        after: of the same images, their objects moved right by ``shift`` pixels.
        shift: moves the map by ``shift / stride`` places; where that is no whole number, whichever neighbour fits better.
            Behind the last map nothing is moved, and the error is the change itself.
    """
    axes = tuple(range(1, before.values.ndim))
    size = np.sqrt((before.values**2).sum(axis=axes))
    if before.stride:
        moves = {shift // before.stride, -(-shift // before.stride)}
        moved = [np.roll(before.values, move, axis=2) for move in moves]
    else:
        moved = [before.values]
    errors = [np.sqrt(((after.values - values) ** 2).sum(axis=axes)) for values in moved]
    best: Floats = np.min(errors, axis=0) / np.where(size > 0, size, 1.0)
    return best


def _padded(x: Floats, padding: str) -> Floats:
    border = _BORDER[padding]
    return np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))


def _convolved(x: Floats, kernel: Floats) -> Floats:
    """``(N, H, W, C)`` with ``(rows, columns, C, K)``, without padding; term by term in a fixed order."""
    rows, columns, channels, filters = kernel.shape
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    made = np.zeros((len(x), height, width, filters))
    for down in range(rows):
        for right in range(columns):
            for channel in range(channels):
                made += x[:, down : down + height, right : right + width, channel, None] * kernel[down, right, channel]
    return made


def _convolved_fast(x: Floats, kernel: Floats) -> Floats:
    """The same to rounding, as a matrix product."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    made: Floats = np.tensordot(windows, kernel, axes=((4, 5, 3), (0, 1, 2)))
    return made


def _largest(x: Floats, stride: int) -> Floats:
    """The largest of 2 x 2, at each ``stride``-th place; what does not fill a window is left out."""
    height, width = ((size - 2) // stride + 1 for size in x.shape[1:3])
    corners = [
        x[:, down : down + stride * height : stride, right : right + stride * width : stride][:, :height, :width]
        for down in range(2)
        for right in range(2)
    ]
    made: Floats = np.maximum.reduce(corners)
    return made


def _blur_pooled(x: Floats) -> Floats:
    """The largest of 2 x 2 at every place, blurred with zeros around (``same``, the odd one behind), and each second value."""
    dense = _largest(x, 1)
    counts = [-(-size // 2) for size in dense.shape[1:3]]
    padded = np.pad(dense, ((0, 0), *(_blur_border(size) for size in dense.shape[1:3]), (0, 0)))
    made = np.zeros((len(x), *counts, x.shape[3]))
    for down in range(3):
        for right in range(3):
            seen = padded[:, down : down + 2 * counts[0] : 2, right : right + 2 * counts[1] : 2]
            made += _BLUR[down, right] * seen[:, : counts[0], : counts[1]]
    return made


def _blur_border(size: int) -> tuple[int, int]:
    """Zeros before and behind so many places, of which each second one is blurred."""
    missing = 2 * (-(-size // 2) - 1) + 3 - size
    return missing // 2, missing - missing // 2


def _relu(x: Floats) -> Floats:
    return np.maximum(x, 0.0)
