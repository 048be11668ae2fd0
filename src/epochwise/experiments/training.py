"""One training run of the experiments, as a trial: what is trained, on what, and what is kept of it.

Its arguments, all JSON::

    model           a description (models/__init__.py)
    data            a description (data.py)
    seed            of weights, split, subset, order and offsets
    backend         of Keras, whose conventions the engine follows
    trainer         "engine", or "keras" for model.fit with the very same batches
    learning_rate   of plain SGD
    batch_size      samples of a step
    steps           how many
    validate_every  so many steps; 0 for never
    test_at         steps after which the weights are tested, at the end of the run
    best            whether those with the best validation accuracy are tested as well
    test_images     how many of the test images; null for all
    keep_weights    whether the first and the last weights are kept
    positions       null, or {"offsets": [[down, right], ...], "images": 1000}: the accuracy of the last weights at each

What comes out, in ``numbers``::

    parameters      of the model
    samples         trained on
    validation      {"steps": [...], "accuracy": [...], "loss": [...]}
    test            {"steps": [...], "accuracy": [...]}, as test_at
    best            {"step": ..., "validation": ..., "test": ...}, or null
    positions       accuracies, as the offsets, or null

in ``arrays``: ``correct`` (as ``test_at``, a bit for each test image, see :func:`unpacked`), ``best_correct``, and ``first_0``,
``first_1``, ... and ``last_0``, ... the weights in Keras's order; in ``measured``: ``seconds`` of training after each of
``validation.steps`` and ``train_seconds`` in all, both without evaluations and without compiling the engine's kernels.

The test samples are looked at once, when training is over, and nothing is chosen by them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.network import Float32
from epochwise.experiments.data import Task
from epochwise.subjects.backends import bind_keras
from epochwise.trials.trial import Outcome

if TYPE_CHECKING:
    from epochwise.experiments.learners import Learner

RECIPE = 1
"""Raised when the same arguments give another run from now on."""
RUN = "epochwise.experiments.training:train"

_STRETCH = 128  # steps whose samples are made at once, where they are not shown as they were loaded


def train(arguments: Mapping[str, Any]) -> Outcome:
    """Run one trial; see the top of the file.

    Raises:
        EpochwiseError: the data are not those that were planned with, or a user's model does not fit.
    """
    bind_keras(str(arguments["backend"]))
    from epochwise.experiments.learners.keras import learner_for
    from epochwise.experiments.models.keras import build

    seed, batch_size = int(arguments["seed"]), int(arguments["batch_size"])
    task = Task(arguments["data"], seed)
    model = build(
        arguments["model"], task.input_shape, task.classes, seed=seed, learning_rate=float(arguments["learning_rate"])
    )
    learner = learner_for(model, str(arguments["trainer"]), batch_size)
    run = _Run(task, learner, arguments)
    first = learner.weights()
    run.go(batch_size)
    numbers, arrays = run.tested()
    if arguments["keep_weights"]:
        arrays |= {f"first_{number}": array for number, array in enumerate(first)}
        arrays |= {f"last_{number}": array for number, array in enumerate(run.last)}
    numbers |= {"parameters": int(model.count_params()), "samples": len(task.training)}
    measured = {"seconds": run.seconds, "train_seconds": run.train_seconds}
    return Outcome(numbers=numbers, arrays=arrays, measured=measured, engine=learner.name)


def unpacked(packed: NDArray[np.uint8], images: int) -> NDArray[np.bool_]:
    """Bits of ``correct``, ``(..., images / 8)``, as ``(..., images)``."""
    return np.unpackbits(packed, axis=-1, count=images).astype(bool)


class _Run:
    """A run while it goes on."""

    def __init__(self, task: Task, learner: Learner, arguments: Mapping[str, Any]) -> None:
        self._task, self._learner, self._arguments = task, learner, arguments
        self._held: list[tuple[int, list[Float32]]] = []
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._accuracies: list[float] = []
        self._best: tuple[int, float, list[Float32]] | None = None
        self.seconds: list[float] = []
        self.train_seconds = 0.0
        self.last: list[Float32] = []

    def go(self, batch_size: int) -> None:
        """Train, validate where asked, and keep the weights that are to be tested."""
        task, steps = self._task, int(self._arguments["steps"])
        every = int(self._arguments["validate_every"])
        tested = {int(step) for step in self._arguments["test_at"]}
        held = task.validating() if every else None
        batches = task.order(steps, batch_size)
        done = 0
        while done < steps:
            end = done + 1
            # A smaller batch ends a stretch, since only the last one of a stretch may be smaller.
            while (
                end < steps
                and len(batches[end - 1]) == batch_size
                and end not in tested
                and not (every and end % every == 0)
                and (task.plain or end - done < _STRETCH)
            ):
                end += 1
            self._stretch(np.concatenate(batches[done:end]), batch_size)
            done = end
            if held is not None and (done % every == 0 or done == steps):
                self._validate(done, *held)
            if done in tested:
                self._held.append((done, self._learner.weights()))
        self.last = self._learner.weights()

    def tested(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Numbers and arrays of the outcome, with the test samples looked at now."""
        task, learner = self._task, self._learner
        x, y = task.testing(self._arguments["test_images"])
        accuracies, correct = [], []
        for _, weights in self._held:
            learner.set_weights(weights)
            right = learner.correct(x, y)
            accuracies.append(float(right.mean()))
            correct.append(np.packbits(right))
        test = {"steps": [step for step, _ in self._held], "accuracy": accuracies, "images": len(y)}
        validation = {"steps": self._steps, "accuracy": self._accuracies, "loss": self._losses}
        numbers: dict[str, Any] = {"validation": validation, "test": test, "best": None, "positions": None}
        arrays: dict[str, NDArray[Any]] = {}
        if correct:
            arrays["correct"] = np.stack(correct)
        if self._best is not None:
            step, accuracy, weights = self._best
            learner.set_weights(weights)
            right = learner.correct(x, y)
            numbers["best"] = {"step": step, "validation": accuracy, "test": float(right.mean())}
            arrays["best_correct"] = np.packbits(right)
        positions = self._arguments["positions"]
        if positions is not None:
            learner.set_weights(self.last)
            at = (task.testing(int(positions["images"]), offset) for offset in positions["offsets"])
            numbers["positions"] = [float(learner.correct(x, y).mean()) for x, y in at]
        return numbers, arrays

    def _stretch(self, places: NDArray[np.int64], batch_size: int) -> None:
        task = self._task
        if task.plain:
            x, y, order = task.x, task.y, places
        else:
            x, y, order = task.shown(places), task.y[places], np.arange(len(places), dtype=np.int64)
        start = time.perf_counter()
        self._learner.train(x, y, order, batch_size)
        self.train_seconds += time.perf_counter() - start

    def _validate(self, done: int, x: Float32, y: NDArray[np.int32]) -> None:
        loss, accuracy = self._learner.evaluate(x, y)
        self._steps.append(done)
        self._losses.append(loss)
        self._accuracies.append(accuracy)
        self.seconds.append(self.train_seconds)
        if self._arguments["best"] and (self._best is None or accuracy > self._best[1]):
            self._best = (done, accuracy, self._learner.weights())
