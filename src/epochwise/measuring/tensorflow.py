"""TensorFlow: waiting for the device, and kernel times from ``tf.profiler``."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from epochwise.measuring.hlo import NOWHERE
from epochwise.measuring.intervals import kernel_times
from epochwise.measuring.messages import ProfiledSteps
from epochwise.measuring.places import Places, scope_name
from epochwise.measuring.xplane import WINDOW, Place, TraceEvent, kernel_events
from epochwise.tracing.keras import StepHooks

HOST_TRACER_LEVEL = 2
"""The level at which TensorFlow's executor records its operations."""

CHEAP_OPERATIONS = (
    "TensorFlow does not record operations that it found to take a few microseconds or less; their time counts as waiting."
)


GRADIENT_SCOPE = "gradient_tape/"
"""Scope that ``tf.GradientTape`` puts around the operations of the backward pass."""


class ScopeHooks(StepHooks):
    """Opens a name scope for each layer call, which becomes part of the names of the graph's nodes."""

    def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
        """A TensorFlow name scope."""
        scope: contextlib.AbstractContextManager[object] = tf.name_scope(scope_name(call))
        return scope


class TensorFlowRuntime:
    """What the gate needs of TensorFlow.

    Args:
        places: reads the scopes that :class:`ScopeHooks` opened.
    """

    tool = "tf.profiler"

    def __init__(self, places: Places) -> None:
        self._places = places
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._window: Any = None

    def synchronize(self) -> None:
        """Wait until accelerators have finished; on the CPU, a training function returns when it is done."""
        if tf.config.list_logical_devices("GPU"):
            tf.test.experimental.sync_devices()

    def start_profiler(self) -> None:
        """Record kernels, without the Python tracer."""
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=HOST_TRACER_LEVEL, python_tracer_level=0)
        self._folder = tempfile.TemporaryDirectory(prefix="epochwise-")
        tf.profiler.experimental.start(self._folder.name, options=options)
        self._window = tf.profiler.experimental.Trace(WINDOW)
        self._window.__enter__()

    def stop_profiler(self, steps: int) -> ProfiledSteps:
        """End recording and read it."""
        self._window.__exit__(None, None, None)
        tf.profiler.experimental.stop()
        if self._folder is None:
            raise RuntimeError("the profiler was not started")
        with self._folder as folder:
            (path,) = Path(folder).rglob("*.xplane.pb")
            content = path.read_bytes()
        kernels = kernel_times(kernel_events(_events(content), lambda _: NOWHERE, self._place_of_node), steps)
        return ProfiledSteps(self.tool, sum(kernel.seconds_per_step for kernel in kernels), kernels, (CHEAP_OPERATIONS,))

    def _place_of_node(self, node: str) -> Place:
        return self._places.of(node, backward=GRADIENT_SCOPE in node)


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
