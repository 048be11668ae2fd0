"""Data that Keras takes batch by batch: tf.data, PyDataset, DataLoader, generators. Read in chunks of many batches.

So data that are larger than memory can be trained on, and steps still run in long stretches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras.src.trainers.epoch_iterator import EpochIterator  # what model.fit itself reads data with; it has no public name

from epochwise.engine.trainer import Data
from epochwise.errors import DataError

CHUNK_BYTES = 16 * 2**20
"""About as much is read ahead of training."""
CHUNK_BATCHES = 512


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

    def epoch(self, one_by_one: bool) -> Iterator[tuple[Data, int]]:
        """Chunks of an epoch, each with the size of its batches; the last batch of a chunk may be smaller.

        Args:
            one_by_one: a chunk for every batch.
        """
        gathered: list[Data] = []
        size, held = 0, 0
        with self._iterator.catch_stop_iteration():
            for _, _, (batch,) in self._iterator:
                data = self._prepare(*_parts(batch))
                samples = len(data.x)
                if gathered and (samples > size or (data.weight is None) != (gathered[0].weight is None)):
                    yield _joined(gathered), size
                    gathered, held = [], 0
                size = size if gathered else samples
                gathered.append(data)
                held += data.x.nbytes
                if one_by_one or samples < size or held >= CHUNK_BYTES or len(gathered) >= CHUNK_BATCHES:
                    yield _joined(gathered), size
                    gathered, held = [], 0
        if gathered:
            yield _joined(gathered), size


def _short(problem: ValueError) -> str:
    """Keras's own words, without the array that it may print after them."""
    return str(problem).partition("Received:")[0].strip()


def _parts(batch: Any) -> tuple[Any, Any, Any]:
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    return x, y, weight


def _joined(gathered: list[Data]) -> Data:
    if len(gathered) == 1:
        return gathered[0]
    weights = [data.weight for data in gathered if data.weight is not None]
    return Data(
        np.concatenate([data.x for data in gathered]),
        np.concatenate([data.y for data in gathered]),
        np.concatenate(weights) if weights else None,
    )
