"""Trains a Keras model with its own ``fit``, stretch by stretch, on any backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from epochwise.measuring.gate import Gate, StopTraining

ENDLESS = 1_000_000_000
"""Epochs given to ``fit``; the gate ends it."""


class GateCallback(keras.callbacks.Callback):
    """Calls the gate from within ``fit``.

    It has no hook after a batch: with one, Keras would fetch the metrics from the device after every step, and the loop would
    not be the one that users see.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before each call of the training function."""
        self._gate.before_step(batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After each epoch; ``logs`` holds its loss and metrics."""
        self._gate.epoch_ended({name: float(value) for name, value in (logs or {}).items()})


def train(model: Any, x: Any, y: Any, batch_size: int, gate: Gate) -> None:
    """Train until the gate says stop: ``model.fit`` with its defaults, without the progress bar.

    Args:
        model: compiled.
        x: samples, first axis the sample.
        y: labels.
        batch_size: samples in a step.
        gate: decides when steps run.
    """
    gate.begin()
    try:
        model.fit(x, y, batch_size=batch_size, epochs=ENDLESS, verbose=0, callbacks=[GateCallback(gate)])
    except StopTraining:
        return


@contextlib.contextmanager
def kept(model: Any, optimizer: Any = None) -> Iterator[None]:
    """Keep the values of all variables of a model, its metrics and its optimizer, and put them back afterwards.

    Args:
        model: compiled.
        optimizer: not used; a Keras model holds its own.
    """
    del optimizer
    before = [(variable, keras.ops.convert_to_numpy(variable.value).copy()) for variable in _variables(model)]
    known = {id(variable) for variable, _ in before}
    history = getattr(model, "history", None)
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
        for variable in _variables(model):
            if id(variable) not in known:  # made by the first step, such as an optimizer's momenta: they begin at zero
                variable.assign(keras.ops.zeros_like(variable.value))
        model.history = history
        model.stop_training = False


def _variables(model: Any) -> list[Any]:
    return [*model.variables, *model.metrics_variables, *(model.optimizer.variables if model.optimizer else [])]


def evaluate(model: Any, x: Any, y: Any) -> dict[str, float]:
    """Loss and metrics of the model on these samples."""
    found = model.evaluate(x, y, batch_size=EVALUATION_BATCH, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}


EVALUATION_BATCH = 256
