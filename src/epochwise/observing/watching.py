"""``epochwise.watch()``: around any PyTorch or JAX training loop, with one line per step."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import TracebackType
from typing import Any

import msgspec

from epochwise.counting import count
from epochwise.errors import EpochwiseError, UsageError
from epochwise.explaining.explain import explain_measured
from epochwise.explaining.explanation import Explanation
from epochwise.machines.measure import machine
from epochwise.measuring.clock import Batch
from epochwise.measuring.measure import Measured
from epochwise.measuring.messages import Loaded
from epochwise.measuring.places import Places
from epochwise.observing.observer import FOR_EVER, Observer
from epochwise.observing.unknown import no_counts
from epochwise.tracing.recorder import LayerRecorder


def watch(
    model: Any = None,
    x: Any = None,
    y: Any = None,
    *,
    steps_per_epoch: int | None = None,
    name: str = "",
    profile: bool = True,
    verbose: bool = True,
) -> Watch:
    """Watch a training loop of PyTorch or JAX, and say afterwards where its time went.

    Like this::

        with epochwise.watch(model, x=x[:32], y=y[:32], steps_per_epoch=len(loader)) as w:
            for epoch in range(3):
                for features, labels in w.batches(loader):
                    ...                      # the step, as it was
                    w.step()                 # on JAX: w.step(loss), so that it can be waited for
        print(w.explanation.answer)

    Without ``w.batches`` the time that the loop waits for its data cannot be seen; without ``model`` and a batch its work is
    not counted, and layers are not told apart. The answer says so.

    Args:
        model: a ``torch.nn.Module``, for its layers and its work; ``None`` on JAX, or where only times matter.
        x: one batch of features as the model takes them, to count its work with.
        y: labels of that batch.
        steps_per_epoch: steps of an epoch; by default all that are watched count as one epoch.
        name: for the record; by default the model's class.
        profile: whether some steps are profiled.
        verbose: whether the answer is printed to standard error at the end.

    Raises:
        UsageError: neither PyTorch nor JAX has been imported.
    """
    return Watch(
        model, x, y, steps_per_epoch, name or (type(model).__name__ if model is not None else "loop"), profile, verbose
    )


class Watch:
    """A loop under watch; made by :func:`watch`."""

    def __init__(
        self, model: Any, x: Any, y: Any, steps_per_epoch: int | None, name: str, profile: bool, verbose: bool
    ) -> None:
        self._framework = "torch" if model is not None or "torch" in sys.modules else "jax"
        if self._framework not in sys.modules:
            raise UsageError(
                "epochwise.watch() is for loops of PyTorch and JAX, and neither has been imported.",
                cause="It was called before the framework was imported, or the loop is one of Keras.",
                remedy="model.fit(..., callbacks=[epochwise.callbacks.Explain()])",
            )
        self._model, self._x, self._y = model, x, y
        self._given_steps, self._name, self._profile, self._verbose = steps_per_epoch, name, profile, verbose
        self._observer: Observer | None = None
        self._runtime: Any = None
        self._steps = 0
        self._saw_batches = False
        self._found: Explanation | None = None
        self._why_not = "the loop is not over yet"

    @property
    def explanation(self) -> Explanation:
        """What was found.

        Raises:
            UsageError: nothing was: the loop is not over, had too few steps, or never said ``w.step()``.
        """
        if self._found is None:
            raise UsageError(
                f"There is no explanation: {self._why_not}.",
                cause="The loop must call w.step() once in each step, some dozens of times.",
                remedy="for batch in w.batches(loader): ...; w.step()",
            )
        return self._found

    def __enter__(self) -> Watch:
        module = import_module(f"epochwise.measuring.{self._framework}")
        recorder = LayerRecorder(top=None if self._model is None else id(self._model))
        self._runtime = module.loop_runtime(self._model, recorder, Places(recorder))
        self._observer = Observer(
            self._loaded(module), self._runtime, profile=self._profile, turns_are_told=lambda: self._saw_batches
        )
        self._observer.gate.begin()
        self._observer.gate.before_step(0)
        return self

    def step(self, result: Any = None) -> None:
        """One step is done.

        Args:
            result: on JAX what the step gave, such as the loss: it is waited for at the ends of what is timed.
        """
        if self._observer is None:
            return
        if result is not None and self._framework == "jax":
            self._runtime.newest = result
        place = self._steps % self._given_steps if self._given_steps else self._steps
        self._steps += 1
        self._observer.gate.before_step(place)
        if self._saw_batches and self._given_steps and place == self._given_steps - 1:
            self._observer.gate.clock.begin_turn()  # it ends where the next epoch's batches are asked for

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of a loader; the time in which the loop waits for one is told apart."""
        observer = self._observer
        if observer is None:
            return iter(loader)
        self._saw_batches = True
        observer.gate.clock.end_turn()
        return observer.gate.clock.batches(loader)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        observer, self._observer = self._observer, None
        measurement = None
        if observer is not None:
            observer.end()
            self._runtime.cancel_profiler()
            measurement = observer.measurement()
        if not self._steps:
            self._why_not = "the loop never called w.step()"
        elif measurement is None:
            self._why_not = f"{self._steps} steps are too few"
        if measurement is None:
            if kind is None:
                self._say(f"nothing is explained, since {self._why_not}.")
            return
        (one,) = measurement.models
        counts = self._counts()
        steps = self._given_steps or self._steps
        scale = steps / one.steps_per_epoch
        one = msgspec.structs.replace(
            one,
            steps_per_epoch=steps,
            batch_size=counts.batch_size,
            samples=steps * counts.batch_size,
            epoch_seconds=type(one.epoch_seconds)(*(scale * value for value in msgspec.structs.astuple(one.epoch_seconds))),
            host=tuple(type(each)(each.place, each.in_turn, each.seconds * scale) for each in one.host),
            first_epoch_seconds=one.first_step_seconds + scale * one.epoch_seconds.median,
            notes=(*(note for note in one.notes if "put together" not in note), *self._blind()),
        )
        found = Measured(msgspec.structs.replace(measurement, models=(one,)), (counts,), (None,))
        self._found = explain_measured(found, machine())
        self._say(self._found.answer)

    def _counts(self) -> Any:
        if self._model is not None and self._x is not None:
            try:
                return count(self._model, x=self._x, y=self._y, batch_size=len(self._x), name=self._name)
            except EpochwiseError as error:
                self._say(f"the work of {self._name} could not be counted: {error.what}")
        return no_counts(self._name, "pytorch" if self._framework == "torch" else "jax")

    def _blind(self) -> list[str]:
        """What could not be seen."""
        notes = []
        if self._model is None:
            notes.append("No model was given to watch(), so layers are not told apart.")
        if not self._saw_batches:
            notes.append("The loop did not go through w.batches(loader), so it is not known how long it waits for its data.")
        if self._framework == "jax" and self._runtime.newest is None:
            notes.append(
                "w.step() was given no result, so work that JAX had not finished could not be waited for; w.step(loss) does it."
            )
        return notes

    def _loaded(self, module: Any) -> Loaded:
        steps = self._given_steps or FOR_EVER
        backend = "pytorch" if self._framework == "torch" else "jax"
        return Loaded(
            name=self._name,
            backend=backend,
            counts=no_counts(self._name, backend),
            samples=steps,
            batch_size=1,
            steps_per_epoch=math.ceil(steps),
            data="the loop's own",
            threads=module.threads(),
            versions=module.versions(),
            device="cpu" if self._model is None else module.device(self._model),
        )

    def _say(self, text: str) -> None:
        if self._verbose:
            sys.stderr.write(f"epochwise: {text}\n")
