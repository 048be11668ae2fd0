"""Keras's callbacks: Keras's own list of them calls them, and this says how closely they watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any

import keras

from epochwise.errors import UsageError

_TRAIN_METHODS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
_TEST_METHODS = ("on_test_batch_begin", "on_test_batch_end")
_LOGS_ONLY = (keras.callbacks.TerminateOnNaN,)
_UNCONCERNED = (keras.callbacks.ProgbarLogger, keras.callbacks.History, keras.callbacks.CSVLogger)
"""These only show or note what they are told, however many batches it is about."""
_BY_EPOCH = (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore)
"""These have batch methods that do nothing unless ``save_freq`` is a number of batches."""


class Watch(IntEnum):
    """What callbacks want of each batch."""

    NOTHING = 0
    LOGS = 1
    MODEL = 2


def callback_list(callbacks: Any, model: Any, verbose: Any, epochs: int, steps: int | None) -> Any:
    """Keras's ``CallbackList`` as ``model.fit`` makes it, with a History and a progress bar.

    Raises:
        UsageError: one of them is no callback.
    """
    for number, each in enumerate(callbacks if isinstance(callbacks, list | tuple) else []):
        if not isinstance(each, keras.callbacks.Callback):
            raise UsageError(
                f"callbacks[{number}] is no keras.callbacks.Callback, but of type {type(each).__name__}.",
                cause="The class instead of an object of it, or a plain function.",
                remedy="keras.callbacks.LambdaCallback(on_epoch_end=function)",
            )
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    return keras.callbacks.CallbackList(
        callbacks, add_history=True, add_progbar=verbose != 0, verbose=verbose, epochs=epochs, steps=steps, model=model
    )


def watch_of_training(callbacks: Any) -> Watch:
    """What the closest of some callbacks watches while batches are trained."""
    return max((_watch(callback, _TRAIN_METHODS) for callback in _each(callbacks)), default=Watch.NOTHING)


def watch_of_testing(callbacks: Any) -> Watch:
    """The same while batches are evaluated."""
    return max((_watch(callback, _TEST_METHODS) for callback in _each(callbacks)), default=Watch.NOTHING)


def _each(callbacks: Any) -> Iterable[Any]:
    return callbacks.callbacks


def _watch(callback: Any, methods: tuple[str, ...]) -> Watch:
    if type(callback) in (*_UNCONCERNED, EpochTimes) or (type(callback) in _BY_EPOCH and callback.save_freq == "epoch"):
        return Watch.NOTHING
    if all(_untouched(callback, method) for method in methods):
        return Watch.NOTHING
    return Watch.LOGS if type(callback) in _LOGS_ONLY else Watch.MODEL


def _untouched(callback: Any, method: str) -> bool:
    """Whether a method is the one of Keras's base class, also where it was set on the object itself (LambdaCallback)."""
    found = getattr(callback, method)
    return getattr(found, "__func__", None) is getattr(keras.callbacks.Callback, method)


class EpochTimes(keras.callbacks.Callback):
    """Times epochs without their validation, and tells the progress.

    Args:
        tell: called with the epochs done so far (a fraction within an epoch) and what is seen.

    Attributes:
        seconds: of each epoch.
        logs: of each epoch.
    """

    def __init__(self, tell: Callable[[float, str], None]) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.logs: list[dict[str, float]] = []
        self._tell = tell
        self._epoch = 0
        self._begun = 0.0
        self._ended: float | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._epoch = epoch
        self._begun, self._ended = time.perf_counter(), None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Say how far the epoch is."""
        steps = self.params.get("steps") or batch + 1
        self._tell(self._epoch + (batch + 1) / steps, f"epoch {self._epoch + 1}: {_shown(logs)}")

    def on_test_begin(self, logs: Any = None) -> None:
        """Stop it."""
        self._ended = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note the epoch, and say it."""
        self.seconds.append((self._ended or time.perf_counter()) - self._begun)
        self.logs.append(dict(logs or {}))
        self._tell(epoch + 1, f"epoch {epoch + 1}: {_shown(logs)}")


def _shown(logs: dict[str, float] | None) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
