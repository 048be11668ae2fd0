"""Kernel events from the events that XLA and TensorFlow record (their "XPlane"). Framework-free: events come in as tuples.

XLA's CPU runtime records one event for each thunk (a compiled kernel or fused group of kernels), with the name of its HLO
instruction in the statistic ``hlo_op``. A thunk may hand its work to other threads and return at once; it is over at the
event ``end: <name>``, which carries in ``_c`` the number that the thunk's own event carries in ``_p``. So a kernel lasts from
the start of its thunk to the later of the two ends.

TensorFlow's executor records each operation's kernel as ``<node name>:<operation>``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from epochwise.measuring.intervals import KernelEvent

Place = tuple[str | None, str | None]
"""Layer and phase, each ``None`` where unknown."""


class TraceEvent(NamedTuple):
    """One recorded event: its plane and thread, its name, its interval in nanoseconds, and its statistics by name."""

    plane: str
    thread: str
    name: str
    start: float
    end: float
    stats: dict[str, object]


WINDOW = "epochwise.window"
"""Name of the event that a profile reader records around the profiled steps."""

DEVICE_PLANE = "/device:"
"""Planes of accelerators; their lines named ``Stream`` hold the kernels themselves."""

TENSORFLOW_KERNEL = re.compile(r"^([^:]+):([A-Za-z_]\w*)$")
"""``<node name>:<operation>``; the runtime's own regions have two colons or a space."""

CALLS_OTHERS = (
    "PartitionedCall StatefulPartitionedCall While StatelessWhile If StatelessIf Case StatelessCase XlaLaunch _XlaRun"
)
WAITS = "IteratorGetNext IteratorGetNextAsOptional _XlaCompile"
COSTS_NOTHING = "NoOp _Arg _Retval"
NOT_KERNELS = frozenset(f"{CALLS_OTHERS} {WAITS} {COSTS_NOTHING}".split())
"""TensorFlow operations that call others or wait, rather than compute."""

INPUT_THREADS = "tf_data"
"""Threads of TensorFlow's input pipeline; what runs on them is not the step's work."""


def kernel_events(
    events: Iterable[TraceEvent], place_of_instruction: Callable[[str], Place], place_of_node: Callable[[str], Place]
) -> list[KernelEvent]:
    """Every kernel in a recording: an accelerator's own if there is one, else those of the CPU.

    Args:
        events: everything recorded.
        place_of_instruction: layer and phase of an HLO instruction.
        place_of_node: layer and phase of a TensorFlow node.
    """
    recorded = _within_window(list(events))
    device = [event for event in recorded if event.plane.startswith(DEVICE_PLANE) and event.thread.startswith("Stream")]
    if device:
        return [_device_event(event, place_of_instruction, place_of_node) for event in device]
    return _hlo_events(recorded, place_of_instruction) + _tensorflow_events(recorded, place_of_node)


def _within_window(events: list[TraceEvent]) -> list[TraceEvent]:
    """The events that began inside the window; recordings may hold stray ones from before."""
    window = next((event for event in events if event.name.startswith(WINDOW)), None)
    if window is None:
        return events
    return [event for event in events if window.start <= event.start <= window.end]


def _device_event(
    event: TraceEvent, place_of_instruction: Callable[[str], Place], place_of_node: Callable[[str], Place]
) -> KernelEvent:
    instruction, node = event.stats.get("hlo_op"), event.stats.get("tf_op")
    if instruction is not None:
        return KernelEvent(event.start, event.end, str(instruction), *place_of_instruction(str(instruction)))
    if node is not None:
        return KernelEvent(event.start, event.end, event.name, *place_of_node(str(node).partition(":")[0]))
    return KernelEvent(event.start, event.end, event.name)


def _hlo_events(events: Iterable[TraceEvent], place_of: Callable[[str], Place]) -> list[KernelEvent]:
    """Kernels that XLA's CPU runtime ran."""
    kernels: list[TraceEvent] = []
    ends: dict[object, float] = {}
    for event in events:
        if "hlo_op" in event.stats:
            kernels.append(event)
        elif event.name.startswith("end: ") and "_c" in event.stats:
            ends[event.stats["_c"]] = event.end
    found = []
    for event in kernels:
        instruction = str(event.stats["hlo_op"])
        end = max(event.end, ends.get(event.stats.get("_p"), event.end))
        found.append(KernelEvent(event.start, end, instruction, *place_of(instruction)))
    return found


def _tensorflow_events(events: Iterable[TraceEvent], place_of: Callable[[str], Place]) -> list[KernelEvent]:
    """Kernels that TensorFlow's executor ran on the CPU."""
    kernels = []
    for event in events:
        match = TENSORFLOW_KERNEL.match(event.name)
        if match and match[2] not in NOT_KERNELS and not event.thread.startswith(INPUT_THREADS):
            kernels.append(KernelEvent(event.start, event.end, match[2], *place_of(match[1])))
    return kernels
