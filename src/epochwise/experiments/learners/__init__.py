"""What trains a model in a trial: the engine, or Keras. The same batches in the same order, from the same weights."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.network import Float32


class Learner(Protocol):
    """Trains one model in stretches of steps, without callbacks.

    Attributes:
        name: ``engine`` or ``keras``.
    """

    name: str

    def train(self, x: Float32, y: NDArray[np.int32], order: NDArray[np.int64], batch_size: int) -> None:
        """Steps over the samples in this order, the last batch smaller if they do not come out even."""
        ...

    def evaluate(self, x: Float32, y: NDArray[np.int32]) -> tuple[float, float]:
        """Loss and accuracy."""
        ...

    def correct(self, x: Float32, y: NDArray[np.int32]) -> NDArray[np.bool_]:
        """For each sample whether its class is what the model says."""
        ...

    def weights(self) -> list[Float32]:
        """Copies of all weights, in Keras's order and shapes."""
        ...

    def set_weights(self, weights: list[Float32]) -> None:
        """Go on with other weights."""
        ...
