"""``epochwise.callbacks.Explain``: in any Keras ``fit``, on any backend."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import keras
import msgspec
from keras.src.trainers.epoch_iterator import EpochIterator

from epochwise.counting import count
from epochwise.errors import EpochwiseError
from epochwise.explaining.explain import explain_measured
from epochwise.explaining.explanation import Explanation
from epochwise.machines.measure import machine
from epochwise.measuring.gate import Gate
from epochwise.measuring.keras import told
from epochwise.measuring.measure import Measured
from epochwise.measuring.messages import Loaded
from epochwise.measuring.places import Places
from epochwise.observing.frames import Running
from epochwise.observing.observer import Observer
from epochwise.observing.unknown import no_counts
from epochwise.tracing.calls.keras import patched
from epochwise.tracing.recorder import LayerRecorder

UNKNOWN_STEPS = 1_000_000_000


class Explain(keras.callbacks.Callback):
    """Says after training where an epoch of it went, and why.

    Put it among the callbacks of any ``fit``::

        explain = epochwise.callbacks.Explain()
        model.fit(x, y, epochs=3, callbacks=[explain])
        print(explain.explanation.answer)

    It needs at least two epochs, or some hundred steps. It waits for the device a few times a second at first and ever more
    rarely later, and profiles some steps once; apart from that training runs as it would without it. When ``fit`` is left by
    an exception or Ctrl-C, of which Keras tells no callback, nothing is explained, and all that was put around Keras is gone
    within a second.

    Args:
        profile: whether some steps are profiled. Without, layers and kernels are not told apart.
        verbose: whether the answer is printed to standard error when training is over.

    Attributes:
        explanation: what was found; ``None`` before training is over, and where too little was seen.
    """

    def __init__(self, profile: bool = True, verbose: bool = True) -> None:
        super().__init__()
        self.explanation: Explanation | None = None
        self._profile = profile
        self._verbose = verbose
        self._open = contextlib.ExitStack()
        self._observer: Observer | None = None
        self._running: Running | None = None
        self._batch_size: int | None = None
        self._sample: Any = None
        self._notes: list[str] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin to look."""
        self._give_up()
        model = self.model
        backend = keras.backend.backend()
        module = import_module(f"epochwise.measuring.{backend}")
        recorder = LayerRecorder(top=id(model))
        runtime, scopes = module.keras_runtime(model, recorder, Places(recorder), lambda: self._sample)
        self._notes = []
        if backend != "torch" and not model.run_eagerly and getattr(model, "_epochwise_seen", False):
            self._notes.append(
                "The step had been compiled before this training began, so its kernels cannot be assigned to layers."
            )
        model._epochwise_seen = True
        steps = self.params.get("steps")
        self._open = around = contextlib.ExitStack()
        around.callback(runtime.cancel_profiler)
        self._running = Running("fit")
        self._observer = Observer(
            _loaded(model, backend, module, steps or UNKNOWN_STEPS),
            runtime,
            profile=self._profile,
            running=self._running,
            left=around.close,
        )
        around.enter_context(scopes)
        around.enter_context(self._listen(self._observer.gate))
        self._observer.gate.begin()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before each call of the training function."""
        if self._observer is not None:
            self._observer.gate.before_step(batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After each epoch."""
        if self._observer is not None:
            self._observer.gate.epoch_ended(
                {name: float(value) for name, value in (logs or {}).items() if not name.startswith("val_")}
            )

    def _give_up(self) -> Observer | None:
        """End what is left of a training, if there is one."""
        self._open.close()
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.end()
        return observer

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put everything together."""
        observer = self._give_up()
        if self._running is not None:
            self._running.forget()
        measurement = None if observer is None else observer.measurement()
        if observer is None or measurement is None:
            self._say("Too few steps were trained to explain them: at least two epochs, or some hundred steps, are needed.")
            return
        batch = self._batch_size or 32
        if self._batch_size is None:
            self._notes.append("The batch size could not be seen; 32 is assumed where work is counted.")
        (one,) = measurement.models
        try:
            counts = count(self.model, batch_size=batch)
        except EpochwiseError as error:
            self._say(f"The model's work could not be counted, so its epoch is not explained: {error.what}")
            return
        samples = batch * one.steps_per_epoch
        model = _with_batch(one, batch, samples, tuple(self._notes))
        found = Measured(_with_model(measurement, model), (counts,), (None,))
        self.explanation = explain_measured(found, machine())
        self._say(self.explanation.answer)

    @contextlib.contextmanager
    def _listen(self, gate: Gate) -> Iterator[None]:
        """Let Keras tell where ``fit`` is."""
        others = _kinds(keras.callbacks.Callback).difference(type(self).__mro__)
        with told(self.model, others, gate, self._see_first), patched(EpochIterator, "__iter__", self._see_batches):
            yield

    def _see_first(self, batch: Any) -> None:
        if self._sample is None:
            self._sample = batch

    def _see_batches(self, original: Any, iterator: Any) -> Any:
        size = getattr(iterator.data_adapter, "batch_size", None)
        if self._batch_size is None and isinstance(size, int):
            self._batch_size = size
        return original(iterator)

    def _say(self, text: str) -> None:
        if self._verbose:
            sys.stderr.write(f"epochwise: {text}\n")


def _kinds(kind: type) -> set[type]:
    """All classes of callbacks."""
    below: list[type] = kind.__subclasses__()
    return {kind, *(inner for each in below for inner in _kinds(each))} - {
        keras.callbacks.Callback,
        keras.callbacks.CallbackList,
    }


def _loaded(model: Any, backend: str, module: Any, steps: int) -> Loaded:
    return Loaded(
        name=model.name,
        backend=backend,
        counts=no_counts(model.name, backend),
        samples=steps,
        batch_size=1,
        steps_per_epoch=math.ceil(steps),
        data="what fit was given",
        threads=module.threads(),
        versions={**module.versions(), "keras": keras.__version__},
        device=module.device(model),
    )


def _with_batch(one: Any, batch: int, samples: int, notes: tuple[str, ...]) -> Any:
    return msgspec.structs.replace(one, batch_size=batch, samples=samples, notes=(*one.notes, *notes))


def _with_model(measurement: Any, model: Any) -> Any:
    return msgspec.structs.replace(measurement, models=(model,))
