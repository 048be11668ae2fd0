"""JAX: waiting for the device, and kernel times from ``jax.profiler``."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from pathlib import Path
from typing import Any

import jax

from epochwise.measuring.hlo import NOWHERE, places_of_instructions
from epochwise.measuring.intervals import kernel_times
from epochwise.measuring.messages import ProfiledSteps
from epochwise.measuring.places import Places, scope_name
from epochwise.measuring.xplane import WINDOW, Place, TraceEvent, kernel_events
from epochwise.tracing.keras import StepHooks

HOST_TRACER_LEVEL = 2
"""The level at which XLA's CPU runtime records its thunks."""


class ScopeHooks(StepHooks):
    """Opens a named scope for each layer call, which ends up in the metadata of the compiled instructions."""

    def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
        """A JAX named scope."""
        return jax.named_scope(scope_name(call))


class JaxRuntime:
    """What the gate needs of JAX, for a Keras model whose ``fit`` is under way.

    Args:
        model: being trained.
        places: reads the scopes that :class:`ScopeHooks` opened.
        batch: one batch ``(x, y)`` as ``fit`` sees it.
    """

    tool = "jax.profiler"

    def __init__(self, model: Any, places: Places, batch: tuple[Any, Any]) -> None:
        self._model = model
        self._places = places
        self._batch = batch
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._window: Any = None

    def synchronize(self) -> None:
        """Wait until the newest state of the model has been computed."""
        if getattr(self._model, "_jax_state", None) is not None:
            jax.block_until_ready(_state(self._model))

    def start_profiler(self) -> None:
        """Record kernels, without the Python tracer."""
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        options.host_tracer_level = HOST_TRACER_LEVEL
        self._folder = tempfile.TemporaryDirectory(prefix="epochwise-")
        jax.profiler.start_trace(self._folder.name, profiler_options=options)
        self._window = jax.profiler.TraceAnnotation(WINDOW)
        self._window.__enter__()

    def stop_profiler(self, steps: int) -> ProfiledSteps:
        """End recording and read it."""
        self._window.__exit__(None, None, None)
        jax.profiler.stop_trace()
        if self._folder is None:
            raise RuntimeError("the profiler was not started")
        with self._folder as folder:
            (path,) = Path(folder).rglob("*.xplane.pb")
            data = jax.profiler.ProfileData.from_file(str(path))
        found = self._place_of_instruction
        events = kernel_events(_events(data), lambda name: found.get(name, NOWHERE), lambda _: NOWHERE)
        kernels = kernel_times(events, steps)
        return ProfiledSteps(self.tool, sum(kernel.seconds_per_step for kernel in kernels), kernels)

    @functools.cached_property
    def _place_of_instruction(self) -> dict[str, Place]:
        """Layer and phase of each instruction of the compiled training step.

        JAX does not give out the executable that ``fit`` runs, so the step is compiled once more; the compiler is
        deterministic, and instructions that it would name otherwise are simply not found.
        """
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), _state(self._model))
        compiled = jax.jit(self._model.train_step, donate_argnums=0).lower(state, self._batch).compile()
        return places_of_instructions(
            compiled.as_text() or "", lambda operation: self._places.of(operation, backward="transpose(" in operation)
        )


def _state(model: Any) -> tuple[list[Any], ...]:
    """The four lists of variables that Keras's stateless ``train_step`` takes, as they are in the midst of ``fit``.

    As plain lists: Keras keeps its own kinds of dictionary and list, which JAX takes for single leaves and would not wait for.
    """
    state = model._jax_state
    kinds = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
    return tuple(list(state[kind]) for kind in kinds)


def _events(data: Any) -> list[TraceEvent]:
    return [
        TraceEvent(plane.name, line.name, event.name, event.start_ns, event.end_ns, dict(event.stats))
        for plane in data.planes
        for line in plane.lines
        for event in line.events
    ]


def device(model: Any) -> str:
    """Where the kernels of a model run: ``cpu``, or JAX's name of the accelerator."""
    del model  # Keras trains where the framework puts it
    return "cpu" if jax.default_backend() == "cpu" else str(jax.devices()[0])


def threads() -> dict[str, int]:
    """Threads by pool: XLA's CPU client takes one for each core that the process may use."""
    return {"XLA": len(os.sched_getaffinity(0))}


def versions() -> dict[str, str]:
    """Of JAX."""
    return {"jax": jax.__version__}
