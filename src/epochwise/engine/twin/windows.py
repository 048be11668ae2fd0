"""Maps, and the windows that convolution and pooling see of them.

Legend: ``B`` samples of a batch, ``H W C`` rows, columns and channels of a map, ``R S`` rows and columns of a window,
``H' W'`` how many windows there are. A tensor of rank ``B L C`` is a map of one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from epochwise.engine.network import Pair, Sides

Array: TypeAlias = NDArray[Any]

_MAP_AXES = 4


def as_maps(x: Array) -> Array:
    """``B H W C``: axes of length 1 are put in behind the batch where there are fewer."""
    return x.reshape(x.shape[:1] + (1,) * (_MAP_AXES - x.ndim) + x.shape[1:])


def as_taps(kernel: Array) -> Array:
    """A kernel ``R S C K``; that of a 1-D convolution has one row."""
    return kernel.reshape((1,) * (_MAP_AXES - kernel.ndim) + kernel.shape)


def padded(x: Array, padding: Sides, value: float = 0.0) -> Array:
    """``B H W C`` with rows and columns of ``value`` around it."""
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def inner(x: Array, padding: Sides) -> Array:
    """``B H W C`` without the rows and columns that :func:`padded` put around it."""
    (above, below), (left, right) = padding
    return x[:, above : x.shape[1] - below, left : x.shape[2] - right]


def windows(x: Array, size: Pair, strides: Pair, dilation: Pair = (1, 1)) -> Array:
    """``B H' W' C R S``: what each window sees of a padded map; a view, nothing is copied."""
    spans = tuple((taps - 1) * step + 1 for taps, step in zip(size, dilation, strict=True))
    seen = sliding_window_view(x, spans, axis=(1, 2))
    return seen[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]


def places(size: Pair, strides: Pair, counts: Pair, dilation: Pair = (1, 1)) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
    """For each tap of a window, which pixels of the padded map it sees over all windows.

    Args:
        size: ``R S``.
        strides: pixels between windows.
        counts: ``H' W'``.
        dilation: pixels between taps.

    Yields:
        the tap's row and column, and the index of its pixels in ``B H W C``.
    """
    for row in range(size[0]):
        for column in range(size[1]):
            first = (row * dilation[0], column * dilation[1])
            spread = (
                slice(start, start + (count - 1) * step + 1, step)
                for start, count, step in zip(first, counts, strides, strict=True)
            )
            yield row, column, (slice(None), *spread)
