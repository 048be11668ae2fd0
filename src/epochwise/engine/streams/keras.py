"""Data that Keras takes batch by batch: tf.data, PyDataset, DataLoader, generators. Read in chunks of many batches.

So data that are larger than memory can be trained on, and steps still run in long stretches.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import keras
import numpy as np
from keras.src.trainers.epoch_iterator import EpochIterator  # what model.fit itself reads data with; it has no public name

from epochwise.engine.samples import alone
from epochwise.engine.streams.ahead import Ahead
from epochwise.engine.trainer import Data
from epochwise.errors import DataError, EpochwiseError
from epochwise.subjects.arrays import Array, as_array

Batch = tuple[Array, Array | None, Array | None]

CHUNK_BYTES = 16 * 2**20
"""About as much is read ahead of training."""
CHUNK_BATCHES = 512
_READ_AHEAD = ("tensorflow.", "torch.")
"""Whose data sets are read in another thread. Those of users are not: what they open may be bound to theirs."""


class Stream:
    """Batches as somebody else makes them.

    Args:
        batches: the data set, loader or generator.
        prepare: from ``x, y, sample_weight`` of a batch to checked data.
        steps_per_epoch: where the stream has no end of its own.
        shuffle: handed on to a PyDataset, which shuffles its batches itself.
        class_weight: handed on.
    """

    def __init__(
        self,
        batches: Any,
        prepare: Callable[[Any, Any, Any], Data],
        *,
        steps_per_epoch: int | None = None,
        shuffle: bool = False,
        class_weight: Any = None,
    ) -> None:
        shuffled = shuffle and isinstance(batches, keras.utils.PyDataset)
        self._prepare = prepare
        self._ahead = type(batches).__module__.startswith(_READ_AHEAD)
        try:
            self._iterator = EpochIterator(
                x=batches, steps_per_epoch=steps_per_epoch, shuffle=shuffled, class_weight=class_weight
            )
        except ValueError as problem:
            raise DataError(
                f"Keras cannot read batches from this {type(batches).__name__}: {_short(problem)}",
                cause="A generator without batches, or batches that are no tuples (x, y) or (x, y, sample_weight).",
                remedy="yield x, y",
            ) from problem
        self._iterator.reset()

    @property
    def steps(self) -> int | None:
        """Batches of an epoch, if that is known."""
        found = self._iterator.num_batches
        return None if found is None else int(found)

    def epoch(self, one_by_one: bool) -> Generator[tuple[Data, int], None, None]:
        """Chunks of an epoch, each with the size of its batches; the last batch of a chunk may be smaller.

        Args:
            one_by_one: a chunk for every batch.
        """
        if one_by_one or not self._ahead:
            yield from self._chunks(one_by_one, lambda: True)
        else:
            yield from Ahead(lambda wanted: self._chunks(one_by_one, wanted))

    def _chunks(self, one_by_one: bool, wanted: Callable[[], bool]) -> Iterator[tuple[Data, int]]:
        gathered: list[Batch] = []
        size, held = 0, 0
        with self._iterator.catch_stop_iteration():
            for _, _, (batch,) in self._iterator:
                if not wanted():
                    return
                arrays = _arrays(batch)
                samples = len(arrays[0])
                if gathered and (samples > size or not _alike(arrays, gathered[0])):
                    yield self._joined(gathered), size
                    gathered, held = [], 0
                size = size if gathered else samples
                gathered.append(arrays)
                held += arrays[0].nbytes
                if one_by_one or samples < size or held >= CHUNK_BYTES or len(gathered) >= CHUNK_BATCHES:
                    yield self._joined(gathered), size
                    gathered, held = [], 0
        if gathered:
            yield self._joined(gathered), size

    def _joined(self, gathered: list[Batch]) -> Data:
        """Batches as one piece, which is checked as a whole, since that is much quicker than one by one."""
        if len(gathered) == 1:
            return self._prepare(*gathered[0])
        try:
            return self._prepare(*(None if part[0] is None else np.concatenate(part) for part in zip(*gathered, strict=True)))
        except EpochwiseError:
            for batch in gathered:  # says at which index of its batch
                self._prepare(*batch)
            raise


def _arrays(batch: Any) -> Batch:
    """Samples, labels and weights of a batch as they come, each as an array with an axis of samples."""
    parts = zip(keras.utils.unpack_x_y_sample_weight(batch), ("x", "y", "sample_weight"), strict=True)
    x, y, weight = (None if part is None else np.atleast_1d(as_array(alone(part), name)) for part, name in parts)
    if x is None:
        raise DataError("A batch has no samples.", cause="yield None, y", remedy="yield x, y")
    return x, y, weight


def _alike(batch: Batch, first: Batch) -> bool:
    """Whether two batches can be put together: the same parts, of the same kind."""
    return all(
        one is other if one is None or other is None else (one.dtype, one.shape[1:]) == (other.dtype, other.shape[1:])
        for one, other in zip(batch, first, strict=True)
    )


def _short(problem: ValueError) -> str:
    """Keras's own words, without the array that it may print after them."""
    return str(problem).partition("Received:")[0].strip()
