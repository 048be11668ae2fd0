"""What any trainer of a network can do: the compiled one, and the plain twin that it is tested against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.network import Float32, Sums


@dataclass(frozen=True, slots=True)
class Data:
    """Samples with their answers, each in one piece of memory (copied once where they are not), since kernels walk over it.

    Attributes:
        x: ``(samples, *shape)``; float32, or uint8 (each number is used as it is, as Keras would).
        y: whole numbers ``(samples,)`` int32 for sparse losses, else float32 ``(samples, *output shape)``.
        weight: of each sample, float32 ``(samples,)``, or ``None`` where all weigh 1.
    """

    x: NDArray[np.float32] | NDArray[np.uint8]
    y: NDArray[np.int32] | NDArray[np.float32]
    weight: Float32 | None = None

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name)))
        if self.weight is not None:
            object.__setattr__(self, "weight", np.ascontiguousarray(self.weight))


class Trainer(Protocol):
    """Trains one network; the arrays of its ``State`` are up to date whenever no method runs.

    The arrays stay the same objects. Between two calls somebody else may write new numbers into them (a callback that sets
    weights), or set ``iterations``; the next call goes on from there.

    Attributes:
        name: what it is called where results say which engine trained.
        threads: how many it uses.
    """

    name: str
    threads: int

    def prepare(self, data: Data, batch_size: int) -> None:
        """Compile and allocate what such data and this batch size need, so that the other methods start at once."""
        ...

    def train(self, data: Data, order: NDArray[np.int64], batch_size: int, learning_rates: NDArray[np.float32]) -> Sums:
        """Steps over the samples in this order, the last batch partial if they do not come out even.

        Args:
            data: the samples.
            order: places in ``data`` of the samples, one after another.
            batch_size: samples of a step.
            learning_rates: one for each step.

        Returns:
            the sums over these steps, with each batch seen before its own update.
        """
        ...

    def evaluate(self, data: Data, batch_size: int) -> Sums:
        """Loss and metrics without training (no dropout, running statistics)."""
        ...

    def predict(self, x: NDArray[np.float32] | NDArray[np.uint8], batch_size: int) -> Float32:
        """The output tensor of each sample: ``(samples, *output shape)``."""
        ...
