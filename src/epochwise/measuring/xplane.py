"""Kernel events from the events that XLA and TensorFlow record (their "XPlane"). Framework-free: events come in as tuples.

XLA's CPU runtime records one event for each thunk (a compiled kernel or fused group of kernels), with the name of its HLO
instruction in the statistic ``hlo_op``. A thunk may hand its work to other threads and return at once; it is over at the
event ``end: <name>``, which carries in ``_c`` the number that the thunk's own event carries in ``_p``. So a kernel lasts from
the start of its thunk to the later of the two ends.

TensorFlow's executor records each operation's kernel as ``<node name>:<operation>``. A part of a step that XLA compiled, though
the step is not (a convolution with groups on CPUs), runs as thunks inside a call, whose node is in a statistic. Operations that
Python calls one by one are recorded as ``EagerLocalExecute: <operation>``, around the region in which the kernel runs.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from epochwise.measuring.clock import SPAN
from epochwise.measuring.intervals import HostSpan, KernelEvent
from epochwise.measuring.measurement import DISPATCH, INPUT

Place = tuple[str | None, str | None]
"""Layer and phase, each ``None`` where unknown."""
NOWHERE: Place = (None, None)

Shares = tuple[tuple[Place, float], ...]
"""Layers and phases that a kernel works for, with their shares of its time, which add up to 1; empty where unknown."""

SCOPE = re.compile(r"epochwise\.(\d+)")
"""Name of the scope of a layer call."""


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

NEXT_BATCH = ("IteratorGetNextOp::DoCompute", "IteratorGetNextAsOptionalOp::DoCompute")
"""Regions in which a TensorFlow step waits for its next batch."""
COMPILED_CALL = "ExecutorState::ProcessAsync::Start"
"""Regions in which TensorFlow's executor runs a compiled part of a step, with the node's name in the statistic ``name``."""
EAGER_CALL, EAGER_RUN = "EagerLocalExecute: ", "KernelAndDeviceFunc::Run"
"""An operation that is called from Python, and the part of it in which its kernel runs."""
FUNCTION = "__"
"""What the names of whole graphs begin with."""
EAGER_COSTS_NOTHING = frozenset(("ReadVariableOp", "Shape", "Identity", "_EagerConst", "Reshape", "ExpandDims", "Squeeze"))
"""Operations that compute nothing, and only hand on what is there or give it another shape."""
LONGEST_SCOPE_NANOSECONDS = 60e9

CALLBACK = "callback"
"""In the name of a kernel of XLA's that calls Python."""

INPUT_THREADS = "tf_data"
"""Threads of TensorFlow's input pipeline; what runs on them is not the step's work."""


def read_events(
    events: Iterable[TraceEvent],
    *,
    instruction: Callable[[str], Shares],
    node: Callable[[str], Place],
    scope: Callable[[str], Place],
) -> tuple[list[KernelEvent], list[HostSpan]]:
    """Every kernel in a recording (an accelerator's own if there is one, else those of the CPU), and the stays of the host.

    Args:
        events: everything recorded.
        instruction: for which layers and phases an HLO instruction works, with their shares of its time.
        node: layer and phase of a TensorFlow node.
        scope: layer and phase of a scope that was opened around a layer while the profiler ran.
    """
    recorded = _within_window(list(events))
    spans = list(_host_spans(recorded, scope))
    device = [event for event in recorded if event.plane.startswith(DEVICE_PLANE) and event.thread.startswith("Stream")]
    if device:
        return [piece for event in device for piece in _device_event(event, instruction, node)], spans
    kernels = _hlo_events(recorded, instruction, _compiled_calls(recorded, node)) + _tensorflow_events(recorded, node)
    kernels += _eager_events(recorded, spans)
    return kernels, spans


def fused_note(shares: Iterable[Shares]) -> tuple[str, ...]:
    """A note where compiled kernels work for several layers at once."""
    fused = sum(len(each) > 1 for each in shares)
    if not fused:
        return ()
    kernels = "1 compiled kernel works" if fused == 1 else f"{fused} compiled kernels work"
    return (f"{kernels} for several layers or phases; its time is shared out by the elements that each computes.",)


def _within_window(events: list[TraceEvent]) -> list[TraceEvent]:
    """The events that began inside the window; recordings may hold stray ones from before."""
    window = next((event for event in events if event.name.startswith(WINDOW)), None)
    if window is None:
        return events
    return [event for event in events if window.start <= event.start <= window.end]


def _host_spans(events: Iterable[TraceEvent], scope: Callable[[str], Place]) -> Iterator[HostSpan]:
    """Where the training loop's thread was, from the scopes that were opened while the profiler ran."""
    for event in events:
        if event.name.startswith(SPAN):
            yield HostSpan(event.start, event.end, event.name.removeprefix(SPAN))
        elif event.name in NEXT_BATCH:
            yield HostSpan(event.start, event.end, INPUT)
        elif SCOPE.match(event.name):
            yield HostSpan(event.start, event.end, DISPATCH, *scope(event.name))


def _device_event(
    event: TraceEvent, instruction: Callable[[str], Shares], node: Callable[[str], Place]
) -> Iterator[KernelEvent]:
    operation, made_from = event.stats.get("hlo_op"), event.stats.get("tf_op")
    if operation is not None:
        yield from pieces(event.start, event.end, str(operation), instruction(str(operation)))
    elif made_from is not None:
        yield KernelEvent(event.start, event.end, event.name, *node(str(made_from).partition(":")[0]))
    else:
        yield KernelEvent(event.start, event.end, event.name)


def _compiled_calls(events: Iterable[TraceEvent], place_of: Callable[[str], Place]) -> Callable[[TraceEvent], Shares]:
    """For whom a kernel works by the compiled part of a TensorFlow step that it runs in.

    That is the innermost call on its thread, or for a kernel that was handed to another thread the one call that is open then.
    The call that ends a recording is not in it: of its kernels it is the call that all others of their module ran in.
    """
    calls: dict[str, list[HostSpan]] = {}
    kernels = []
    for event in sorted(events, key=lambda event: event.start):
        if event.name == COMPILED_CALL and "name" in event.stats:
            layer, phase = place_of(str(event.stats["name"]))
            calls.setdefault(event.thread, []).append(HostSpan(event.start, event.end, DISPATCH, layer, phase))
        elif "hlo_op" in event.stats:
            kernels.append(event)
    begins = {thread: [call.start for call in made] for thread, made in calls.items()}

    def open_call(event: TraceEvent) -> Shares:
        by_thread = {thread: _around(event.start, made, begins[thread]) for thread, made in calls.items()}
        own = by_thread.get(event.thread, NOWHERE)
        found = {own} - {NOWHERE} or set(by_thread.values()) - {NOWHERE}
        return ((found.pop(), 1.0),) if len(found) == 1 else ()

    of_module: dict[object, set[Shares]] = {}
    for event in kernels:
        of_module.setdefault(event.stats.get("hlo_module"), set()).add(open_call(event))

    def shares_of(event: TraceEvent) -> Shares:
        usual = of_module.get(event.stats.get("hlo_module"), set()) - {()}
        return open_call(event) or (next(iter(usual)) if len(usual) == 1 else ())

    return shares_of


def _hlo_events(
    events: Iterable[TraceEvent], shares_of: Callable[[str], Shares], by_call: Callable[[TraceEvent], Shares]
) -> list[KernelEvent]:
    """Kernels that XLA's CPU runtime ran; those of no instruction that is known belong to the call that they ran in."""
    kernels: list[TraceEvent] = []
    ends: dict[object, float] = {}
    for event in events:
        if "hlo_op" in event.stats:
            kernels.append(event)
        elif event.name.startswith("end: ") and "_c" in event.stats:
            ends[event.stats["_c"]] = event.end
    found: list[KernelEvent] = []
    python = sorted(event.start for event in kernels if CALLBACK in event.name)
    for event in kernels:
        instruction = str(event.stats["hlo_op"])
        end = max(event.end, ends.get(event.stats.get("_p"), event.end))
        called = bisect.bisect_right(python, event.start)
        if CALLBACK not in event.name and called < len(python) and python[called] < end:
            end = python[called]  # its end is told late: what comes next runs Python on the thread that would tell it
        found += pieces(event.start, end, instruction, shares_of(instruction) or by_call(event))
    return found


def pieces(start: float, end: float, name: str, shares: Shares, calls: int = 1) -> Iterator[KernelEvent]:
    """A kernel that works for several layers, as one piece after another, each as long as its share."""
    length = end - start
    for (layer, phase), share in shares or ((NOWHERE, 1.0),):
        yield KernelEvent(start, start + share * length, name, layer, phase, calls)
        start, calls = start + share * length, 0


def _tensorflow_events(events: Iterable[TraceEvent], place_of: Callable[[str], Place]) -> list[KernelEvent]:
    """Kernels that TensorFlow's executor ran on the CPU."""
    kernels = []
    for event in events:
        match = TENSORFLOW_KERNEL.match(event.name)
        if match and match[2] not in NOT_KERNELS and not event.thread.startswith(INPUT_THREADS):
            kernels.append(KernelEvent(event.start, event.end, match[2], *place_of(match[1])))
    return kernels


def _eager_events(events: Iterable[TraceEvent], spans: Sequence[HostSpan]) -> list[KernelEvent]:
    """Kernels that TensorFlow ran one by one, called from Python; the innermost scope open then is their layer."""
    ordered = sorted(
        (event for event in events if event.name.startswith(EAGER_CALL) or event.name == EAGER_RUN),
        key=lambda event: (event.thread, event.start, -event.end),
    )
    layers = sorted((span for span in spans if span.layer is not None), key=lambda span: span.start)
    begins = [span.start for span in layers]
    kernels: list[KernelEvent] = []
    call: TraceEvent | None = None
    for event in ordered:
        if event.name.startswith(EAGER_CALL):
            call = event
            continue
        name = call.name.removeprefix(EAGER_CALL) if call and call.start <= event.start <= call.end else ""
        if name and not name.startswith(FUNCTION) and name not in NOT_KERNELS and name not in EAGER_COSTS_NOTHING:
            kernels.append(KernelEvent(event.start, event.end, name, *_around(event.start, layers, begins)))
    return kernels


def _around(moment: float, layers: Sequence[HostSpan], begins: Sequence[float]) -> Place:
    """Layer and phase of the innermost scope that is open at a moment."""
    for place in range(bisect.bisect_right(begins, moment) - 1, -1, -1):
        span = layers[place]
        if span.end >= moment:
            return span.layer, span.phase
        if place < len(layers) and moment - span.start > LONGEST_SCOPE_NANOSECONDS:
            break
    return NOWHERE
