"""Where the numbers of windows lie in maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.forms import Form
from epochwise.engine.network import Pair
from epochwise.engine.stages.alike import FEW_TAPS


class Window:
    """Where the numbers of each window lie in a map.

    Attributes:
        starts: ``(rows, columns)``: where each position's window begins, in floats from the sample's beginning.
        taps: where each tap's channels begin, from the window's beginning.
        runs, run: where each run of numbers side by side begins, and its length.
        inputs: where each number of the window lies.
    """

    def __init__(self, line: int, pitch: int, channels: int, kernel: Pair, out: Pair, strides: Pair, dilation: Pair) -> None:
        """Of maps with ``line`` floats in a row and ``pitch`` in a pixel, of which ``channels`` are read."""
        i, j = np.meshgrid(np.arange(out[0]) * strides[0], np.arange(out[1]) * strides[1], indexing="ij")
        self.starts: NDArray[np.int64] = (i * line + j * pitch).astype(np.int64)
        u, v = np.meshgrid(np.arange(kernel[0]) * dilation[0], np.arange(kernel[1]) * dilation[1], indexing="ij")
        self.taps: NDArray[np.int64] = (u * line + v * pitch).ravel().astype(np.int64)
        together = dilation[1] == 1 and channels == pitch
        self.runs = self.taps[:: kernel[1]].copy() if together else self.taps
        self.run = kernel[1] * pitch if together else channels
        self.inputs: NDArray[np.int64] = (self.taps[:, None] + np.arange(channels)).ravel()

    def by_pooled_windows(self) -> NDArray[np.int64]:
        """``starts`` with the four positions of each 2x2 window together, and one number more."""
        rows, columns = (size // 2 for size in self.starts.shape)
        four = self.starts[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3)
        return np.append(four.ravel(), 0)


def output_size(form: Form, kernel: Pair, strides: Pair, dilation: Pair) -> Pair:
    """Rows and columns of what windows make of a map."""
    height, width = form.shape[:2]
    rows, columns = (
        (size - gap * (taps - 1) - 1) // stride + 1
        for size, gap, taps, stride in zip((height, width), dilation, kernel, strides, strict=True)
    )
    return rows, columns


def tap_tile(taps: int, most: int = FEW_TAPS) -> int:
    """Taps handled at once: a divisor of their number, at most so many."""
    return max(tile for tile in range(1, most + 1) if taps % tile == 0)
