"""JAX: waiting for the device, and kernel times from ``jax.profiler``."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from epochwise.measuring.conditions import cores, on_processors
from epochwise.measuring.hlo import places_of_instructions
from epochwise.measuring.intervals import typical_step
from epochwise.measuring.messages import Condition, ProfiledSteps
from epochwise.measuring.places import Places, scope_name
from epochwise.measuring.xplane import NOWHERE, WINDOW, Shares, TraceEvent, fused_note, read_events
from epochwise.tracing.hooks import StepHooks
from epochwise.tracing.keras import intercept
from epochwise.tracing.recorder import LayerRecorder

HOST_TRACER_LEVEL = 2
"""The level at which XLA's CPU runtime records its thunks."""


CAN_CHANGE_THREADS = False
"""Whether the framework lets the number of its threads be changed while it runs."""


class ScopeHooks(StepHooks):
    """Opens a named scope for each layer call, which ends up in the metadata of the compiled instructions."""

    def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
        """A JAX named scope."""
        return jax.named_scope(scope_name(call))


class LoopRuntime:
    """What the gate needs of JAX, for a loop of the user's own; kernels belong to no layer that is known.

    Attributes:
        newest: what the last step gave, to be waited for.
    """

    tool = "jax.profiler"

    def __init__(self) -> None:
        self.newest: Any = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._window: Any = None

    def synchronize(self) -> None:
        """Wait until what the last step gave has been computed."""
        if self.newest is not None:
            jax.block_until_ready(self.newest)

    def inspect(self) -> dict[str, float]:
        """The threads that kernels run on; its kernels take denormal numbers for zero."""
        return {"threads": float(cores())}

    def annotate(self, name: str) -> contextlib.AbstractContextManager[object]:
        """A region of the host in the recording."""
        return jax.profiler.TraceAnnotation(name)

    def cancel_profiler(self) -> None:
        """End recording if it is under way, and forget it."""
        folder, self._folder = self._folder, None
        if folder is not None:
            with folder, contextlib.suppress(Exception):
                jax.profiler.stop_trace()

    def start_profiler(self) -> None:
        """Record kernels, without the Python tracer."""
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        options.host_tracer_level = HOST_TRACER_LEVEL
        folder = tempfile.TemporaryDirectory(prefix="epochwise-")
        jax.profiler.start_trace(folder.name, profiler_options=options)  # refused where the user's own is running
        self._folder = folder
        self._window = jax.profiler.TraceAnnotation(WINDOW)
        self._window.__enter__()

    def stop_profiler(self, steps: int) -> ProfiledSteps:
        """End recording and read it."""
        self._window.__exit__(None, None, None)
        kept, self._folder = self._folder, None
        if kept is None:
            raise RuntimeError("the profiler was not started")
        jax.profiler.stop_trace()
        with kept as folder:
            (path,) = Path(folder).rglob("*.xplane.pb")
            data = jax.profiler.ProfileData.from_file(str(path))
        found = self.shares()
        kernels, spans = read_events(
            _events(data), instruction=lambda name: found.get(name, ()), node=lambda _: NOWHERE, scope=lambda _: NOWHERE
        )
        step = typical_step(kernels, spans, steps)
        return ProfiledSteps(self.tool, step.kernels, step.idle, step.stays, step.wall, fused_note(found.values()))

    def shares(self) -> dict[str, Shares]:
        """Layers and phases of each compiled instruction, as far as they are known."""
        return {}


def loop_runtime(model: Any, recorder: LayerRecorder, places: Places) -> LoopRuntime:
    """The runtime for a loop of the user's own."""
    del model, recorder, places
    return LoopRuntime()


class JaxRuntime(LoopRuntime):
    """What the gate needs of JAX, for a Keras model whose ``fit`` is under way.

    Args:
        model: being trained.
        places: reads the scopes that :class:`ScopeHooks` opened.
        batch: gives one batch ``(x, y)`` as ``fit`` sees it.
    """

    def __init__(self, model: Any, places: Places, batch: Callable[[], Any]) -> None:
        super().__init__()
        self._model = model
        self._places = places
        self._batch = batch

    def synchronize(self) -> None:
        """Wait until the newest state of the model has been computed."""
        if getattr(self._model, "_jax_state", None) is not None:
            jax.block_until_ready(_state(self._model))

    def shares(self) -> dict[str, Shares]:
        """Layers and phases of the compiled step."""
        return self._shares_of_instruction

    @functools.cached_property
    def _shares_of_instruction(self) -> dict[str, Shares]:
        """Layers and phases of each instruction of the compiled training step.

        JAX does not give out the executable that ``fit`` runs, so the step is compiled once more; the compiler is
        deterministic, and instructions that it would name otherwise are simply not found.
        """
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), _state(self._model))
        compiled = jax.jit(self._model.train_step, donate_argnums=0).lower(state, self._batch()).compile()
        return places_of_instructions(
            compiled.as_text() or "", lambda operation: self._places.of(operation, backward="transpose(" in operation)
        )


def keras_runtime(
    model: Any, recorder: LayerRecorder, places: Places, batch: Callable[[], Any]
) -> tuple[JaxRuntime, contextlib.AbstractContextManager[object]]:
    """The runtime for a Keras model, and the scopes that must be open while its step is traced."""
    return JaxRuntime(model, places, batch), intercept(model, recorder, ScopeHooks())


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


def under(model: Any, condition: Condition) -> contextlib.AbstractContextManager[None]:
    """Hold a condition while the context is open: on one processor where one thread is asked for, since pools are fixed."""
    del model
    return on_processors(condition.threads)


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
