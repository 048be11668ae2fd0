"""Keras's callbacks: Keras's own list of them calls them, and this says how closely they watch."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import keras

_TRAIN_METHODS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
_TEST_METHODS = ("on_test_batch_begin", "on_test_batch_end")
_LOGS_ONLY = (keras.callbacks.TerminateOnNaN,)
_UNCONCERNED = (keras.callbacks.ProgbarLogger, keras.callbacks.History, keras.callbacks.CSVLogger)
_BY_EPOCH = (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore)
"""These have batch methods that do nothing unless ``save_freq`` is a number of batches."""


class Watch(IntEnum):
    """What callbacks want of each batch."""

    NOTHING = 0
    LOGS = 1
    MODEL = 2


def callback_list(callbacks: Any, model: Any, verbose: Any, epochs: int, steps: int | None) -> Any:
    """Keras's ``CallbackList`` as ``model.fit`` makes it, with a History and a progress bar."""
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
    if type(callback) in _UNCONCERNED or (type(callback) in _BY_EPOCH and callback.save_freq == "epoch"):
        return Watch.NOTHING
    if all(_untouched(callback, method) for method in methods):
        return Watch.NOTHING
    return Watch.LOGS if type(callback) in _LOGS_ONLY else Watch.MODEL


def _untouched(callback: Any, method: str) -> bool:
    """Whether a method is the one of Keras's base class, also where it was set on the object itself (LambdaCallback)."""
    found = getattr(callback, method)
    return getattr(found, "__func__", None) is getattr(keras.callbacks.Callback, method)
