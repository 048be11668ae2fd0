"""TensorFlow: waiting for the device, and kernel times from ``tf.profiler``."""

from __future__ import annotations

import bisect
import contextlib
import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python import pywrap_tfe  # the door through which eager gradients are computed has no public name
from tensorflow.python.eager import backprop
from tensorflow.python.framework import ops

from epochwise.measuring.conditions import cores, on_processors
from epochwise.measuring.hlo import places_of_instructions
from epochwise.measuring.intervals import typical_step
from epochwise.measuring.measurement import KernelTime
from epochwise.measuring.messages import Condition, ProfiledSteps
from epochwise.measuring.places import Places, backward_name, scope_name
from epochwise.measuring.xplane import WINDOW, Place, Shares, TraceEvent, fused_note, read_events
from epochwise.tracing.hooks import StepHooks
from epochwise.tracing.keras import intercept
from epochwise.tracing.recorder import LayerRecorder

HOST_TRACER_LEVEL = 2
"""The level at which TensorFlow's executor records its operations; a higher one does not record the cheap ones either."""

CHEAP_OPERATIONS = (
    "TensorFlow does not record operations that it found to take a few microseconds or less; their time counts as dispatch."
)
NOT_RECORDED = "operations that are not recorded"
NO_WORK = frozenset(("Const", "Identity", "IdentityN", "NoOp", "Placeholder", "ReadVariableOp", "Shape", "StopGradient"))

GRADIENT_SCOPE = "gradient_tape/"
"""Scope that ``tf.GradientTape`` puts around the operations of the backward pass."""


CALLS = ("PartitionedCall", "StatefulPartitionedCall")
"""Operations that call functions."""

CAN_CHANGE_THREADS = False
"""Whether the framework lets the number of its threads be changed while it runs."""


class ScopeHooks(StepHooks):
    """Opens a name scope for each layer call, which becomes part of the names of the graph's nodes."""

    def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
        """A TensorFlow name scope."""
        scope: contextlib.AbstractContextManager[object] = tf.name_scope(scope_name(call))
        return scope


class EagerHooks(StepHooks):
    """Opens a region in the recording for each layer call of a step that runs operation by operation, forward and backward.

    A gradient is computed long after the layer was called. The tensors that operations give out are numbered in the order in
    which they are made, so the number of an operation's output says in which layer call it was made.
    """

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._calls: list[int | None] = []
        self._open: list[int] = []

    @contextlib.contextmanager
    def scope(self, call: int) -> Iterator[None]:
        """A region of TensorFlow's profiler."""
        self._mark(call)
        self._open.append(call)
        with tf.profiler.experimental.Trace(scope_name(call)):
            yield
        self._open.pop()
        self._mark(self._open[-1] if self._open else None)

    def _mark(self, call: int | None) -> None:
        self._begins.append(ops.uid())
        self._calls.append(call)

    def _call_of(self, tensors: Iterable[Any]) -> int | None:
        """The layer call in which the newest of these tensors was made."""
        newest = max((tensor._id for tensor in tensors if hasattr(tensor, "_id")), default=-1)
        place = bisect.bisect_right(self._begins, newest) - 1
        return self._calls[place] if place >= 0 else None

    @contextlib.contextmanager
    def gradients_told(self) -> Iterator[None]:
        """Regions for the gradients that are computed while the context is open."""
        original = backprop._gradient_function

        def around(name: Any, attributes: Any, inputs_count: Any, inputs: Any, outputs: Any, *others: Any) -> Any:
            call = self._call_of([*(inputs or ()), *(outputs or ())])  # those that the gradient does not need are missing
            if call is None:
                return original(name, attributes, inputs_count, inputs, outputs, *others)
            with tf.profiler.experimental.Trace(backward_name(call)):
                return original(name, attributes, inputs_count, inputs, outputs, *others)

        pywrap_tfe.TFE_Py_RegisterGradientFunction(around)
        try:
            yield
        finally:
            pywrap_tfe.TFE_Py_RegisterGradientFunction(original)


class TensorFlowRuntime:
    """What the gate needs of TensorFlow.

    Args:
        model: being trained.
        places: reads the scopes that :class:`ScopeHooks` or :class:`EagerHooks` opened.
        batch: gives one batch ``(x, y)`` as ``fit`` sees it; ``None`` where that is not known.
        layers: for a model that runs operation by operation: opens its scopes while it is entered.
    """

    tool = "tf.profiler"

    def __init__(
        self,
        model: Any,
        places: Places,
        batch: Callable[[], Any],
        layers: Callable[[], contextlib.AbstractContextManager[object]] | None = None,
    ) -> None:
        self._model = model
        self._places = places
        self._batch = batch
        self._layers = layers
        self._scopes = contextlib.ExitStack()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def synchronize(self) -> None:
        """Wait until accelerators have finished; on the CPU, a training function returns when it is done."""
        if tf.config.list_logical_devices("GPU"):
            tf.test.experimental.sync_devices()

    def start_profiler(self) -> None:
        """Record kernels, without the Python tracer."""
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=HOST_TRACER_LEVEL, python_tracer_level=0)
        folder = tempfile.TemporaryDirectory(prefix="epochwise-")
        tf.profiler.experimental.start(folder.name, options=options)  # refused where the user's own is running
        self._folder = folder
        self._scopes.enter_context(tf.profiler.experimental.Trace(WINDOW))
        if self._layers:
            self._scopes.enter_context(self._layers())

    def cancel_profiler(self) -> None:
        """End recording if it is under way, and forget it."""
        folder, self._folder = self._folder, None
        if folder is not None:
            with folder, contextlib.suppress(Exception):
                tf.profiler.experimental.stop(save=False)

    def annotate(self, name: str) -> contextlib.AbstractContextManager[object]:
        """A region of the host in the recording."""
        region: contextlib.AbstractContextManager[object] = tf.profiler.experimental.Trace(name)
        return region

    def inspect(self) -> dict[str, float]:
        """The threads that kernels run on; its kernels take denormal numbers for zero."""
        return {"threads": float(cores())}

    def stop_profiler(self, steps: int) -> ProfiledSteps:
        """End recording and read it."""
        self._scopes.close()
        kept, self._folder = self._folder, None
        if kept is None:
            raise RuntimeError("the profiler was not started")
        tf.profiler.experimental.stop()
        with kept as folder:
            (path,) = Path(folder).rglob("*.xplane.pb")
            content = path.read_bytes()
        found = self._shares_of_instruction
        kernels, spans = read_events(
            _events(content),
            instruction=lambda name: found.get(name, ()),
            node=self._place_of_node,
            scope=self._places.of_scope,
        )
        step = typical_step(kernels, spans, steps)
        cheap = self._not_recorded(step.kernels)
        notes = (*fused_note(found.values()), *((CHEAP_OPERATIONS,) if cheap else ()))
        return ProfiledSteps(self.tool, (*step.kernels, *cheap), step.idle, step.stays, step.wall, notes)

    def _not_recorded(self, kernels: Iterable[KernelTime]) -> tuple[KernelTime, ...]:
        """How many operations of each layer and phase the graph has beyond those that were recorded; of unknown time."""
        recorded = Counter[Place]()
        for kernel in kernels:
            recorded[kernel.layer, kernel.phase] += round(kernel.calls_per_step)
        return tuple(
            KernelTime(NOT_RECORDED, *place, seconds_per_step=0.0, calls_per_step=float(count - recorded[place]))
            for place, count in self._operations.items()
            if count > recorded[place]
        )

    @functools.cached_property
    def _operations(self) -> Counter[Place]:
        """Operations of the step's graph by layer and phase, traced once more; empty where the step is no graph."""
        found = Counter[Place]()
        for operation in self._graph:
            place = self._place_of_node(operation.name)
            if operation.type not in NO_WORK and place[0] is not None:
                found[place] += 1
        return found

    @functools.cached_property
    def _graph(self) -> tuple[Any, ...]:
        """Operations of the step's graph, traced once more; empty where the step is no graph."""
        sample = None if self._model.run_eagerly or self._model.jit_compile else self._batch()
        if sample is None:
            return ()
        specs = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in map(tf.convert_to_tensor, sample))
        return tuple(tf.function(self._model.train_step).get_concrete_function(specs).graph.get_operations())

    @functools.cached_property
    def _without_scope(self) -> dict[str, Place]:
        """Layers of what TensorFlow puts into no scope in the backward pass, by name.

        The call that computes the gradient of a call is given what that has kept, and belongs to its layer. A sum of gradients,
        of a tensor that several layers read, belongs to the layer that gave the first, as it is counted.
        """
        found: dict[str, Place] = {}

        def place(operation: Any) -> Place:
            scoped = self._places.of(operation.name, backward=True)
            return scoped if scoped[0] is not None else found.get(operation.name, scoped)

        for operation in self._graph:
            if place(operation)[0] is None:
                makers = [tensor.op for tensor in operation.inputs]
                if operation.type in CALLS:
                    makers = [maker for maker in makers if maker.type in CALLS]
                elif operation.type == "AddN":
                    makers = makers[:1]
                else:
                    continue
                places = set(map(place, makers))
                if len(places) == 1:
                    found[operation.name] = places.pop()
        return found

    def _place_of_node(self, node: str) -> Place:
        place = self._places.of(node, backward=GRADIENT_SCOPE in node)
        return place if place[0] is not None else self._without_scope.get(node.rpartition("/")[2], place)

    @functools.cached_property
    def _shares_of_instruction(self) -> dict[str, Shares]:
        """Layers and phases of each instruction of a step that XLA compiled; empty for other steps.

        The step is compiled once more, since Keras does not give out the function that ``fit`` runs; the compiler is
        deterministic, and instructions that it would name otherwise are simply not found.
        """
        sample = None if self._model.run_eagerly or not self._model.jit_compile else self._batch()
        if sample is None:
            return {}
        step = tf.function(self._model.train_step, jit_compile=True, reduce_retracing=True)
        batch = tuple(tf.convert_to_tensor(part) for part in sample)
        text = step.experimental_get_compiler_ir(batch)(stage="optimized_hlo")
        return places_of_instructions(text, self._place_of_node)


def keras_runtime(
    model: Any, recorder: LayerRecorder, places: Places, batch: Callable[[], Any]
) -> tuple[TensorFlowRuntime, contextlib.AbstractContextManager[object]]:
    """The runtime for a Keras model, and what must be open while it trains: the scopes of a graph while that is traced.

    A model that runs operation by operation gets its scopes with the profiler.
    """
    if not model.run_eagerly:
        return TensorFlowRuntime(model, places, batch), intercept(model, recorder, ScopeHooks())

    @contextlib.contextmanager
    def layers() -> Iterator[None]:
        hooks = EagerHooks()
        with intercept(model, recorder, hooks), hooks.gradients_told():
            yield

    return TensorFlowRuntime(model, places, batch, layers), contextlib.nullcontext()


def _events(content: bytes) -> list[TraceEvent]:
    """The events of a recording, on one clock (nanoseconds)."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(content)
    events = []
    for plane in space.planes:
        names = {number: metadata.name for number, metadata in plane.event_metadata.items()}
        stat_names = {number: metadata.name for number, metadata in plane.stat_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                start = line.timestamp_ns + event.offset_ps / 1e3
                stats = {}
                for stat in event.stats:
                    field = stat.WhichOneof("value")
                    value = getattr(stat, field) if field else None
                    stats[stat_names[stat.metadata_id]] = stat_names[value] if field == "ref_value" else value
                events.append(
                    TraceEvent(plane.name, line.name, names[event.metadata_id], start, start + event.duration_ps / 1e3, stats)
                )
    return events


def under(model: Any, condition: Condition) -> contextlib.AbstractContextManager[None]:
    """Hold a condition while the context is open: on one processor where one thread is asked for, since pools are fixed."""
    del model
    return on_processors(condition.threads)


def device(model: Any) -> str:
    """Where the kernels of a model run: ``cpu``, or TensorFlow's name of the first accelerator."""
    del model  # Keras trains where the framework puts it
    accelerators = tf.config.list_logical_devices("GPU")
    return accelerators[0].name if accelerators else "cpu"


def threads() -> dict[str, int]:
    """Threads by pool, where set; TensorFlow says 0 for "as many as there are cores"."""
    return {
        "inter-op": tf.config.threading.get_inter_op_parallelism_threads(),
        "intra-op": tf.config.threading.get_intra_op_parallelism_threads(),
    }


def versions() -> dict[str, str]:
    """Of TensorFlow."""
    return {"tensorflow": tf.__version__}
