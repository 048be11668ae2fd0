"""The worker's life: load a model, count its step, train it stretch by stretch, profile when asked.

One session serves one channel. It runs in a process of its own for a model given by name, and in a thread for a live model.
"""

from __future__ import annotations

import math
import traceback
import types
from collections.abc import Callable
from importlib import import_module
from typing import Any

from epochwise.counting import count
from epochwise.errors import EpochwiseError
from epochwise.measuring.conditions import can_choose_processors
from epochwise.measuring.gate import ChangeCondition, Channel, Gate, StopTraining
from epochwise.measuring.messages import Condition, Failed, Load, Loaded
from epochwise.measuring.places import Places
from epochwise.subjects.datasets import check_data, load_data
from epochwise.subjects.loading import Subject, load_subject
from epochwise.subjects.models import parse_model
from epochwise.tracing.recorder import LayerRecorder

MODULES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch", "pytorch": "torch"}
"""File of this folder for each backend."""


def subject_named(load: Load) -> Subject:
    """The model and data that a request names.

    Raises:
        EpochwiseError: the model or the data cannot be had, or do not fit each other.
    """
    data = load_data(load.data, load.backend)
    batch_size = data.batch_size(load.batch_size)
    check_data(data, batch_size)
    return load_subject(parse_model(load.model), data, backend=load.backend, batch_size=batch_size, seed=load.seed)


def serve(channel: Channel, make_subject: Callable[[Load], Subject] = subject_named) -> None:
    """Answer requests until told to stop; whatever fails is answered with :class:`Failed`.

    Args:
        channel: to the measuring process.
        make_subject: gives model and data for the first request.
    """
    try:
        load = channel.receive()
        if not isinstance(load, Load):
            return
        subject = make_subject(load)
        batch_size = subject.data.batch_size(load.batch_size)
        channel.send(_loaded(subject, load, batch_size))
        _train(subject, batch_size, channel)
    except StopTraining:
        return
    except EpochwiseError as error:
        channel.send(Failed(type(error).__name__, error.what, error.cause, error.remedy))
    except Exception as error:
        channel.send(Failed("", f"{type(error).__name__}: {error}", traceback.format_exc(), ""))


def _loaded(subject: Subject, load: Load, batch_size: int) -> Loaded:
    module = import_module(f"epochwise.measuring.{MODULES[subject.backend]}")
    data = subject.data
    counts = count(
        subject.model,
        batch_size=batch_size,
        x=data.x,
        y=data.y,
        name=load.name or subject.name,
        loss=subject.loss,
        optimizer=subject.optimizer,
    )
    where = module.device(subject.model)
    versions = dict(module.versions())
    if subject.backend != "pytorch":
        versions["keras"] = import_module("keras").__version__
    return Loaded(
        name=load.name or subject.name,
        backend=subject.backend,
        counts=counts,
        samples=data.samples(),
        batch_size=batch_size,
        steps_per_epoch=math.ceil(data.steps_per_epoch(batch_size) / _steps_per_call(subject)),
        data=f"{data.name}: {data.provenance}",
        threads=module.threads(),
        versions=versions,
        device=where,
        can_restart=data.streamed is None or not isinstance(data.streamed.stream, types.GeneratorType),
        compiled=subject.backend != "pytorch" and bool(subject.model.jit_compile) and not subject.model.run_eagerly,
        can_change_batch=data.streamed is None,
        can_change_threads=module.CAN_CHANGE_THREADS or can_choose_processors(),
        accelerator=None if where == "cpu" else _accelerator(MODULES[subject.backend]),
    )


def _accelerator(framework: str) -> Any:
    """Peaks of the accelerator, measured through the framework that trains on it."""
    return import_module(f"epochwise.machines.{framework}").device_machine()


def _steps_per_call(subject: Subject) -> int:
    """Steps in one call of the training function."""
    return int(getattr(subject.model, "steps_per_execution", 1)) if subject.backend != "pytorch" else 1


def _train(subject: Subject, batch_size: int, channel: Channel) -> None:
    """Train, under one condition after the other, until there is nothing more to measure."""
    recorder = LayerRecorder(top=id(subject.model))
    condition = Condition()
    while True:
        try:
            _train_under(condition, subject, batch_size, channel, recorder)
        except ChangeCondition as change:
            condition = change.condition
        else:
            return


def _train_under(condition: Condition, subject: Subject, batch_size: int, channel: Channel, recorder: LayerRecorder) -> None:
    places = Places(recorder)
    module = import_module(f"epochwise.measuring.{MODULES[subject.backend]}")
    data, model = subject.data, subject.model
    batch_size = condition.batch_size or batch_size
    with module.under(model, condition):
        if subject.backend == "pytorch":
            loss = module.ScopedLoss(subject.loss, recorder)
            runtime = module.TorchRuntime(model, lambda: module.module_layers(model, loss, recorder), places)
            evaluate = _evaluation(data, lambda: module.evaluate(model, data.x_test, data.y_test, loss))
            module.train(model, module.batches_for(data, batch_size), loss, subject.optimizer, Gate(channel, runtime, evaluate))
            return
        keras_part = import_module("epochwise.measuring.keras")
        runtime, scopes = module.keras_runtime(model, recorder, places, lambda: keras_part.sample_of(data, batch_size))
        evaluate = _evaluation(data, lambda: keras_part.evaluate(model, data.x_test, data.y_test))
        with keras_part.under(model, condition), scopes:
            keras_part.train(model, keras_part.arguments_of(data, batch_size), Gate(channel, runtime, evaluate))


def _evaluation(data: Any, evaluate: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]] | None:
    return None if data.x_test is None else evaluate
