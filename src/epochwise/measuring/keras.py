"""Trains a Keras model with its own ``fit``, stretch by stretch, on any backend."""

from __future__ import annotations

import contextlib
import itertools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
from keras.src.trainers.epoch_iterator import EpochIterator  # what every backend's fit goes through to get its batches

from epochwise.measuring.clock import INPUT, VALIDATION, callback_name
from epochwise.measuring.conditions import without_denormals
from epochwise.measuring.gate import ChangeCondition, Gate, StopTraining
from epochwise.measuring.messages import Condition
from epochwise.subjects.arrays import Dataset
from epochwise.tracing.calls.keras import patched

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


def arguments_of(data: Dataset, batch_size: int) -> dict[str, Any]:
    """Arguments of ``fit`` for these data: arrays, or the stream; and what the user gave beside."""
    given = dict(data.feed.arguments) if data.feed else {}
    if (stream := data.streamed) is None:
        return {"x": data.x, "y": data.y, "batch_size": batch_size, **given}
    endless = isinstance(stream.stream, types.GeneratorType)
    return {"x": stream.stream, **({"steps_per_epoch": stream.steps_per_epoch} if endless else {}), **given}


def sample_of(data: Dataset, batch_size: int) -> tuple[Any, Any]:
    """One batch ``(x, y)`` as ``fit`` sees it."""
    if data.streamed and data.streamed.sample:
        return data.streamed.sample
    return data.x[:batch_size], data.y[:batch_size]


def train(model: Any, arguments: dict[str, Any], gate: Gate) -> None:
    """Train until the gate says stop: ``model.fit`` with its defaults, without the progress bar.

    Args:
        model: compiled.
        arguments: of ``fit``: data, batch size, and what the user gives beside; epochs and verbosity are ours.
        gate: decides when steps run.
    """
    callbacks = list(arguments.get("callbacks") or ())
    gate.begin()
    try:
        with told(model, {type(each) for each in callbacks}, gate):
            model.fit(**{**arguments, "epochs": ENDLESS, "verbose": 0, "callbacks": [*callbacks, GateCallback(gate)]})
    except ChangeCondition:
        raise
    except StopTraining:
        return


@contextlib.contextmanager
def under(model: Any, condition: Condition) -> Iterator[None]:
    """Hold a condition while the context is open, as far as it concerns the model itself."""
    if not condition.denormals:
        for variable in [*model.variables, *(model.optimizer.variables if model.optimizer else [])]:
            variable.assign(without_denormals(keras.ops.convert_to_numpy(variable.value)))
    compiled = model.jit_compile
    if not condition.compiled:
        model.jit_compile = False
        model.make_train_function(force=True)
    try:
        yield
    finally:
        if model.jit_compile != compiled:
            model.jit_compile = compiled
            model.make_train_function(force=True)


@contextlib.contextmanager
def told(model: Any, callbacks: Iterable[type], gate: Gate, see: Callable[[Any], None] = lambda batch: None) -> Iterator[None]:
    """Tell the clock when ``fit`` waits for a batch, is in a callback or validates, and when an epoch's steps are over.

    Args:
        model: that is trained.
        callbacks: classes of the callbacks to tell of.
        gate: whose clock is told.
        see: is given the first batch of each epoch, where batches pass through Python.
    """
    clock = gate.clock

    def steps_of_epoch(original: Callable[..., Any], iterator: Any) -> Iterator[Any]:
        steps = original(iterator)
        with clock.stay(INPUT):
            first = next(steps, None)
        if first is not None:
            yield first
            yield from steps
        gate.steps_ended()

    def batches(original: Callable[..., Any], iterator: Any) -> Iterator[Any]:
        return _first_seen(clock.batches(original(iterator)), see)

    def validation(original: Callable[..., Any], this: Any, *args: Any, **kwargs: Any) -> Any:
        gate.steps_ended()
        with clock.stay(VALIDATION):
            return original(this, *args, **kwargs)

    def callback(original: Callable[..., Any], this: Any, *args: Any, **kwargs: Any) -> Any:
        with clock.stay(callback_name(type(this))):
            return original(this, *args, **kwargs)

    with contextlib.ExitStack() as patches:
        patches.enter_context(patched(EpochIterator, "_enumerate_iterator", steps_of_epoch))
        if keras.backend.backend() != "tensorflow":  # there the step itself takes its batch, in the graph
            for kind in [EpochIterator, *EpochIterator.__subclasses__()]:
                if "_get_iterator" in vars(kind):
                    patches.enter_context(patched(kind, "_get_iterator", batches))
        patches.enter_context(patched(type(model), "evaluate", validation))
        for kind in callbacks:
            for name in HOOKS:
                if not getattr(getattr(kind, name), "_is_default", False):  # Keras's own mark of a hook that does nothing
                    patches.enter_context(patched(kind, name, callback))
        yield


def _first_seen(batches: Iterator[Any], see: Callable[[Any], None]) -> Iterator[Any]:
    for first in itertools.islice(batches, 1):
        see(first)
        yield first
    yield from batches


HOOKS = tuple(
    f"on_{what}_{when}" for what in ("epoch", "train_batch", "batch", "test", "test_batch") for when in ("begin", "end")
)
"""Methods of callbacks that run while a model trains."""


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
