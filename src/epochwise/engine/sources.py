"""Where the steps of an epoch come from: arrays in memory, in a new order each epoch."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.trainer import Data
from epochwise.errors import UsageError


class Source(Protocol):
    """Gives the batches of an epoch, in chunks of as many as there are at hand."""

    @property
    def steps(self) -> int | None:
        """Batches of an epoch, if that is known."""
        ...

    def epoch(self, one_by_one: bool) -> Generator[tuple[Data, int], None, None]:
        """Chunks of an epoch, each with the size of its batches; the last batch of a chunk may be smaller."""
        ...


def drawn_generator(seed: int | None = None) -> np.random.Generator:
    """What the orders of a run are drawn from.

    Args:
        seed: gives the same as without it after ``keras.utils.set_random_seed(seed)``; ``None`` for a seed from Python's random
            numbers, as the seeds of Keras's layers are, so that ``set_random_seed`` makes a run repeatable.
    """
    numbers = random if seed is None else random.Random(seed)
    return np.random.default_rng(numbers.randrange(2**32))


@dataclass
class Arrays:
    """Samples that are all in memory.

    Attributes:
        data: the samples.
        batch_size: of a step.
        shuffle: true for a new order in each epoch, ``"batch"`` for a new order of batches whose samples stay together.
        generator: what orders are drawn from, see :func:`drawn_generator`; where none is given, the same ones each time.
    """

    data: Data
    batch_size: int
    shuffle: bool | Literal["batch"] = False
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.data.x) // self.batch_size)

    def order(self) -> NDArray[np.int64]:
        """Of the samples, for the next epoch."""
        count = len(self.data.x)
        if self.shuffle == "batch":
            full = count // self.batch_size * self.batch_size
            batches = np.arange(full).reshape(-1, self.batch_size)
            return np.concatenate([self.generator.permutation(batches).reshape(-1), np.arange(full, count)])
        return self.generator.permutation(count) if self.shuffle else np.arange(count)

    def epoch(self, one_by_one: bool) -> Generator[tuple[Data, int], None, None]:
        """All samples as one chunk."""
        yield self.data, self.batch_size


def split(data: Data, fraction: float) -> tuple[Data, Data]:
    """The samples in front, and the last ``fraction`` of them for validation, as Keras cuts them.

    Raises:
        UsageError: one of the parts would be empty.
    """
    count = len(data.x)
    at = int(np.floor(count * (1.0 - fraction)))
    if not 0 < at < count:
        raise UsageError(
            f"validation_split={fraction} of {count} samples leaves {at} to train on and {count - at} to validate with.",
            cause="It is the share of the samples that is held back, between 0 and 1.",
            remedy="validation_split=0.1",
        )
    parts = (slice(None, at), slice(at, None))
    first, second = (Data(data.x[p], data.y[p], None if data.weight is None else data.weight[p]) for p in parts)
    return first, second
