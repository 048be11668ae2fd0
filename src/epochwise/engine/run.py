"""One training run: epochs of stretches of steps, callbacks in between, and weights in the model when somebody may look."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from epochwise.engine.interrupts import Holding
from epochwise.engine.network import Network, State, Sums
from epochwise.engine.pace import Pace
from epochwise.engine.sources import Arrays, Source
from epochwise.engine.trainer import Data, Trainer

if TYPE_CHECKING:
    from epochwise.engine.keras import Reading

Logs = dict[str, float]


def means(network: Network, sums: Sums) -> Logs:
    """What Keras's trackers of loss and metrics show after what was added up, by name."""
    logs = {"loss": _over(sums.loss, sums.samples)}
    for metric, total in zip(network.metrics, sums.metrics or [0.0] * len(network.metrics), strict=True):
        logs[metric.name] = _over(total, sums.weight if metric.weighted else sums.samples)
    return logs


def _over(total: float, count: float) -> float:
    return total / count if count else 0.0


class Run:
    """Trains one model.

    Args:
        reading: the model.
        state: its weights and the optimizer's arrays.
        trainer: works on this state.
        callbacks: Keras's list of them.
        interrupts: Ctrl-C.
    """

    def __init__(self, reading: Reading, state: State, trainer: Trainer, callbacks: Any, interrupts: Holding) -> None:
        from epochwise.engine.callbacks.keras import Watch, watch_of_testing, watch_of_training

        self._reading = reading
        self._state = state
        self._trainer = trainer
        self._callbacks = callbacks
        self._interrupts = interrupts
        self._model = reading.model
        self._pace, self._test_pace = Pace(), Pace()
        training, testing = watch_of_training(callbacks), watch_of_testing(callbacks)
        self._by_batch, self._test_by_batch = training > Watch.NOTHING, testing > Watch.NOTHING
        self._watched = training == Watch.MODEL
        self._newer = False  # whether the state is ahead of the model

    def write(self) -> None:
        """Bring the model up to the last finished step."""
        if self._newer:
            with self._interrupts.held():
                self._reading.write(self._state)
                self._newer = False

    def refresh(self) -> None:
        """Take over what callbacks may have changed in the model."""
        self._reading.refresh(self._state)

    def train(self, source: Source, epochs: int, initial_epoch: int, validate: Callable[[int], Source | None]) -> None:
        """All epochs, as ``model.fit`` goes through them.

        Args:
            source: what is trained on.
            epochs: number of the last epoch, counted from 1.
            initial_epoch: how many are left out.
            validate: what to validate an epoch with, given its number.
        """
        model, callbacks = self._model, self._callbacks
        model.stop_training = False
        callbacks.on_train_begin()
        first = getattr(model, "_initial_epoch", None) or initial_epoch  # set by BackupAndRestore
        logs: Logs = {}
        told = False
        for epoch in range(first, epochs):
            callbacks.on_epoch_begin(epoch)
            self.refresh()
            logs = self._epoch(source)
            if not told and not np.isfinite(logs["loss"]):
                told = True
                warnings.warn(_not_finite(epoch, logs["loss"]), RuntimeWarning, stacklevel=3)
            self.write()
            held = validate(epoch)
            if held is not None:
                logs |= {f"val_{name}": value for name, value in self._evaluate(held).items()}
            callbacks.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        callbacks.on_train_end(logs=logs)

    def _epoch(self, source: Source) -> Logs:
        """The steps of one epoch; gives the running means at its end."""
        network, total, step = self._reading.network, Sums(), 0
        quantum = getattr(self._model, "steps_per_execution", 1)
        quantum = quantum if isinstance(quantum, int) else 1
        with closing(source.epoch(self._watched)) as chunks:
            for data, batch_size in chunks:
                order = source.order() if isinstance(source, Arrays) else np.arange(len(data.x))
                steps, done = -(-len(order) // batch_size), 0
                while done < steps:
                    count = min(quantum if self._by_batch else self._pace.steps, steps - done)
                    self._callbacks.on_train_batch_begin(step)
                    if self._watched:
                        self.refresh()
                    part = order[done * batch_size : (done + count) * batch_size]
                    total.add(self._stretch(data, part, batch_size, count))
                    done, step = done + count, step + count
                    if self._watched:
                        self.write()
                    self._callbacks.on_train_batch_end(step - 1, means(network, total))
                    if self._model.stop_training:
                        if self._watched:
                            self.refresh()
                        return means(network, total)
        if self._watched:
            self.refresh()
        return means(network, total)

    def _stretch(self, data: Data, order: Any, batch_size: int, steps: int) -> Sums:
        """Steps without anybody looking; Ctrl-C waits for their end."""
        rates = self._reading.learning_rates(self._state.iterations, steps)
        self._trainer.prepare(data, batch_size)  # out here, since compiling may take seconds
        start = time.perf_counter()
        with self._interrupts.held():
            self._newer = True
            sums = self._trainer.train(data, order, batch_size, rates)
        self._pace.saw(steps, time.perf_counter() - start)
        return sums

    def _evaluate(self, source: Source) -> Logs:
        """Loss and metrics on data that are not trained on."""
        network, total, step = self._reading.network, Sums(), 0
        callbacks = self._callbacks
        callbacks.on_test_begin()
        logs = means(network, total)
        with closing(source.epoch(self._test_by_batch)) as chunks:
            for data, batch_size in chunks:
                steps, done = -(-len(data.x) // batch_size), 0
                while done < steps:
                    count = min(1 if self._test_by_batch else self._test_pace.steps, steps - done)
                    callbacks.on_test_batch_begin(step)
                    part = slice(done * batch_size, (done + count) * batch_size)
                    weight = None if data.weight is None else data.weight[part]
                    batches = Data(data.x[part], data.y[part], weight)
                    self._trainer.prepare(batches, batch_size)
                    start = time.perf_counter()
                    with self._interrupts.held():
                        total.add(self._trainer.evaluate(batches, batch_size))
                    self._test_pace.saw(count, time.perf_counter() - start)
                    done, step = done + count, step + count
                    logs = means(network, total)
                    callbacks.on_test_batch_end(step - 1, logs)
        callbacks.on_test_end(logs)
        return logs


def _not_finite(epoch: int, loss: float) -> str:
    kind = "not a number" if np.isnan(loss) else "infinite"
    return (
        f"The loss of epoch {epoch + 1} is {kind}; training goes on, as with model.fit. "
        "Usual causes: NaN or infinity in the data, or a learning rate that is too high. "
        "keras.callbacks.TerminateOnNaN() stops at the first such batch."
    )
