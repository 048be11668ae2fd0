"""The two learners: the engine with one thread, and ``model.fit``."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from epochwise.engine.keras import Reading, read
from epochwise.engine.network import Float32
from epochwise.engine.trainer import Data
from epochwise.engine.trainers import trainer_for
from epochwise.experiments.learners import Learner

_PREDICTED = 256  # samples at once, where nothing is trained


def learner_for(model: Any, trainer: str, batch_size: int) -> Learner:
    """What trains a compiled model.

    Args:
        model: a Keras model.
        trainer: ``engine`` (Keras where the engine does not cover the model) or ``keras``.
        batch_size: samples of a step, for which the engine is made ready.
    """
    reading = read(model)[0] if trainer == "engine" else None
    return KerasLearner(model) if reading is None else EngineLearner(reading, batch_size)


class EngineLearner:
    """Trains with the engine; see :class:`epochwise.experiments.learners.Learner`."""

    name = "engine"

    def __init__(self, reading: Reading, batch_size: int) -> None:
        """Kernels are compiled here, so that they are in no time that is taken later."""
        self._model, self._batch_size = reading.model, batch_size
        self._state = reading.state()
        self._trainer = trainer_for(reading.network, self._state, threads=1)
        self._rate = np.float32(reading.learning_rates(0, 1)[0])
        shape = reading.network.shapes[reading.network.input]
        self._trainer.evaluate(Data(np.zeros((1, *shape), np.float32), np.zeros(1, np.int32)), batch_size)

    def train(self, x: Float32, y: NDArray[np.int32], order: NDArray[np.int64], batch_size: int) -> None:
        """Steps over the samples in this order."""
        steps = -(-len(order) // batch_size)
        self._trainer.train(Data(x, y), order, batch_size, np.full(steps, self._rate, np.float32))

    def evaluate(self, x: Float32, y: NDArray[np.int32]) -> tuple[float, float]:
        """Loss and accuracy."""
        sums = self._trainer.evaluate(Data(x, y), self._batch_size)
        return sums.loss / sums.samples, sums.metrics[0] / sums.samples

    def correct(self, x: Float32, y: NDArray[np.int32]) -> NDArray[np.bool_]:
        """For each sample whether its class is what the model says."""
        return _correct(self._model, self._trainer.predict(x, self._batch_size), y)

    def weights(self) -> list[Float32]:
        """Copies of all weights."""
        return [array.copy() for array in self._state.weights]

    def set_weights(self, weights: list[Float32]) -> None:
        """Go on with other weights."""
        for array, values in zip(self._state.weights, weights, strict=True):
            array[...] = values


class KerasLearner:
    """Trains with ``model.fit``; see :class:`epochwise.experiments.learners.Learner`."""

    name = "keras"

    def __init__(self, model: Any) -> None:
        self._model = model

    def train(self, x: Float32, y: NDArray[np.int32], order: NDArray[np.int64], batch_size: int) -> None:
        """Steps over the samples in this order."""
        self._model.fit(x[order], y[order], batch_size=batch_size, epochs=1, shuffle=False, verbose=0)

    def evaluate(self, x: Float32, y: NDArray[np.int32]) -> tuple[float, float]:
        """Loss and accuracy."""
        logs = self._model.evaluate(x, y, batch_size=_PREDICTED, verbose=0, return_dict=True)
        return float(logs["loss"]), float(logs["accuracy"])

    def correct(self, x: Float32, y: NDArray[np.int32]) -> NDArray[np.bool_]:
        """For each sample whether its class is what the model says."""
        return _correct(self._model, self._model.predict(x, batch_size=_PREDICTED, verbose=0), y)

    def weights(self) -> list[Float32]:
        """Copies of all weights."""
        return [np.array(keras.ops.convert_to_numpy(weight.value), copy=True) for weight in self._model.weights]

    def set_weights(self, weights: list[Float32]) -> None:
        """Go on with other weights."""
        self._model.set_weights(weights)


def _correct(model: Any, outputs: Float32, y: NDArray[np.int32]) -> NDArray[np.bool_]:
    """A single output tells two classes apart by its sign, or at one half."""
    if outputs.shape[-1] > 1:
        said = np.argmax(outputs, axis=-1)
    else:
        said = outputs[:, 0] > (0.0 if getattr(model.loss, "from_logits", False) else 0.5)
    found: NDArray[np.bool_] = said == y
    return found
