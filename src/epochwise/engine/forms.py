"""How tensors and weights lie in memory: channels last, padded to whole vectors, padding always zero.

A tensor of one sample is a row of *blocks*, each of ``channels`` numbers and padding up to ``pitch``. A map ``H W C`` has
``H * W`` blocks of ``C`` channels. Flattened it stays as it is, so flattening costs nothing; a dense layer that reads it has
its kernel's rows padded alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.network import Float32, Shape
from epochwise.engine.plan import floats
from epochwise.engine.target import Target

Element = TypeVar("Element", np.float32, np.int64)

_QUARTER, _HALF = 4, 8
"""Lanes of the shorter vectors."""

_PAGE = 1024
"""Floats of 4 KiB. Blocks that are so far apart fall on the same few lines of the cache and drive each other out."""

_WORTH = 0.8
"""Half-wide vectors are used where they leave at most this share of the padded channels."""


@dataclass(frozen=True, slots=True)
class Form:
    """Blocks of channels with padding.

    Attributes:
        shape: of the sample.
        blocks: how many.
        channels: real numbers of each.
        pitch: numbers from one block to the next.
    """

    shape: Shape
    blocks: int
    channels: int
    pitch: int

    @property
    def size(self) -> int:
        """Floats of one sample, with padding."""
        return self.blocks * self.pitch

    def lanes(self, target: Target) -> int:
        """The longest vectors of which each block is a whole number."""
        return next(lanes for lanes in (16, 8, 4, 2, 1) if lanes <= target.lanes and self.pitch % lanes == 0)

    def flat_lanes(self, target: Target) -> int:
        """The longest vectors of which a sample is a whole number, for what takes no heed of blocks."""
        return next(lanes for lanes in (16, 8, 4, 2, 1) if lanes <= target.lanes and self.size % lanes == 0)

    def reshaped(self, shape: Shape) -> Form:
        """The same memory under another shape."""
        return Form(shape, self.blocks, self.channels, self.pitch)

    @property
    def has_channels_last(self) -> bool:
        """Whether blocks are what lies along the last axis."""
        return bool(self.shape) and self.channels == self.shape[-1]


def raw_form(shape: Shape) -> Form:
    """Without padding, as data come."""
    return Form(shape, prod(shape[:-1]), shape[-1], shape[-1])


def padded_form(shape: Shape, target: Target) -> Form:
    """Padded as kernels like it."""
    return Form(shape, prod(shape[:-1]), shape[-1], pitch_of(shape[-1], target))


def pitch_of(channels: int, target: Target) -> int:
    """Channels with padding: to whole vectors, or half or quarter ones where a whole one would be mostly empty."""
    if channels <= _HALF:
        return min(n for n in (_QUARTER, _HALF) if channels <= n)
    half, whole = _up(channels, _HALF), _up(channels, max(_HALF, target.lanes))
    pitch = half if half <= _WORTH * whole else whole
    return pitch if pitch % _PAGE else pitch + target.lanes


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


class Packed:
    """A weight as kernels read it, with its gradient and the optimizer's slots in the same form.

    Attributes:
        split: Keras's shape, maybe with some axes split in two or put together.
        values: all floats, padding included.
        gradient: as many for each copy, ``(copies, floats)``.
        slots: the optimizer's arrays.
    """

    def __init__(
        self, split: Shape, room: Shape, axes: tuple[int, ...], copies: int = 0, slots: int = 0, mirrored: int = 0
    ) -> None:
        """Lay out a weight.

        Args:
            split: Keras's shape, maybe with some axes split in two or put together.
            room: the padded shape, in the order of ``axes``.
            axes: the order of the axes of ``split`` in memory.
            copies: of the gradient.
            slots: of the optimizer.
            mirrored: how many of the first axes in memory run backwards.
        """
        self.split, self._axes, self._room, self._mirrored = split, axes, room, mirrored
        count = prod(room)
        self.values = floats(count + 1)[:count]  # one more, where a table sends what has no place
        self.gradient = floats(copies, count)
        self.slots = [floats(count) for _ in range(slots)]

    @property
    def size(self) -> int:
        """Floats, with padding."""
        return int(self.values.size)

    def view(self, memory: NDArray[Element]) -> NDArray[Element]:
        """Memory in this form -> the real numbers of it, in the split shape."""
        real = tuple(slice(0, self.split[axis]) for axis in self._axes)
        inverse = np.argsort(self._axes)
        backwards = (slice(None, None, -1),) * self._mirrored
        return memory.reshape(self._room)[real][backwards].transpose(inverse)

    def put(self, memory: Float32, array: Float32) -> None:
        """Keras's array -> memory."""
        self.view(memory)[...] = array.reshape(self.split)

    def take(self, memory: Float32, array: Float32) -> None:
        """Memory -> Keras's array, in place."""
        array.reshape(self.split)[...] = self.view(memory)


def table_between(source: Packed, target: Packed) -> NDArray[np.int64]:
    """For each number of ``source``, where it lies in ``target``; padding goes to one more place after its end."""
    table = np.full(source.size, target.size, np.int64)
    source.view(table)[...] = target.view(np.arange(target.size))
    return table
