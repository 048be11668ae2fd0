"""Kernels in recordings of XLA and TensorFlow: what counts, from when to when, and what does not."""

from __future__ import annotations

from epochwise.measuring.intervals import HostSpan, KernelEvent
from epochwise.measuring.xplane import NOWHERE, WINDOW, Place, Shares, TraceEvent, fused_note, read_events


def read(
    *events: TraceEvent, instruction: dict[str, Shares] | None = None, node: dict[str, Place] | None = None
) -> tuple[list[KernelEvent], list[HostSpan]]:
    return read_events(
        events,
        instruction=lambda name: (instruction or {}).get(name, ()),
        node=lambda name: (node or {}).get(name, NOWHERE),
        scope=lambda name: (f"layer {name.split('.')[1]}", "backward" if name.endswith("backward") else "forward"),
    )


def event(
    name: str, start: float, end: float, thread: str = "tf_Compute/1", plane: str = "/host:CPU", **stats: object
) -> TraceEvent:
    return TraceEvent(plane, thread, name, start, end, dict(stats))


def spans(*events: TraceEvent) -> list[tuple[str, float, float]]:
    return [(kernel.name, kernel.start, kernel.end) for kernel in read(*events)[0]]


def test_an_asynchronous_thunk_lasts_until_its_end_event() -> None:
    """A convolution that hands its work to other threads is busy until ``end:``, not until its own event returns."""
    found = spans(
        event("conv", 0, 5, hlo_op="conv", _p=7),
        event("end: conv", 20, 21, _c=7),
        event("add", 30, 32, hlo_op="add", _p=8),
        event("end: other", 90, 91, _c=99),
    )
    assert found == [("conv", 0, 21), ("add", 30, 32)]


def test_a_part_of_a_step_that_is_compiled_belongs_to_its_call() -> None:
    """Thunks of TensorFlow's: on the call's thread, on another one, and in a last call that the recording has lost."""
    call = "ExecutorState::ProcessAsync::Start"
    ahead, back = ("conv", "forward"), ("conv", "backward")
    kernels, _ = read(
        event(call, 0, 10, thread="1")._replace(stats={"name": "f/conv"}),
        event("c", 1, 5, hlo_op="c", hlo_module="ahead", thread="1"),
        event(call, 20, 40, thread="1")._replace(stats={"name": "f/gradient"}),
        event("d", 21, 30, hlo_op="d", hlo_module="back", thread="2"),
        event("d", 61, 70, hlo_op="d", hlo_module="back", thread="2"),
        event("e", 81, 90, hlo_op="e", hlo_module="other", thread="2"),
        node={"f/conv": ahead, "f/gradient": back},
    )
    assert [(kernel.layer, kernel.phase) for kernel in kernels] == [ahead, back, back, NOWHERE]


def test_tensorflow_kernels_are_told_from_regions_calls_and_input() -> None:
    """Only operations count: no executor regions, no calls of functions, no waiting for input, no input threads."""
    found = spans(
        event("model/dense/MatMul:MatMul", 0, 5),
        event("ExecutorState::Process", 0, 9),
        event("EagerLocalExecute: OptionalHasValue", 0, 9),
        event("call:StatefulPartitionedCall", 0, 9),
        event("IteratorGetNext:IteratorGetNext", 0, 9),
        event("GatherV2:GatherV2", 0, 9, thread="tf_data_private_threadpool/5"),
    )
    assert found == [("MatMul", 0, 5)]


def test_events_outside_the_window_are_left_out() -> None:
    """What the recording holds from before the profiled steps does not count."""
    found = spans(event(WINDOW, 10, 50), event("a:Mul", 5, 8), event("a:Mul", 11, 12), event("a:Mul", 51, 60))
    assert found == [("Mul", 11, 12)]


def test_an_accelerators_kernels_take_the_place_of_the_hosts() -> None:
    """Where a device has streams, busy means that the device is busy."""
    found = spans(
        event("a:MatMul", 0, 50),
        event("sgemm", 10, 20, plane="/device:GPU:0", thread="Stream #1"),
        event("memset", 0, 50, plane="/device:GPU:0", thread="XLA Modules"),
    )
    assert found == [("sgemm", 10, 20)]


def test_places_come_from_the_name_that_fits() -> None:
    """Instructions are looked up as instructions, nodes as nodes."""
    kernels, _ = read(
        event("conv", 0, 5, hlo_op="conv.1", _p=1),
        event("x/y:Relu", 6, 7),
        instruction={"conv.1": ((("conv", "forward"), 1.0),)},
        node={"x/y": ("dense", "backward")},
    )
    assert [(kernel.layer, kernel.phase) for kernel in kernels] == [("conv", "forward"), ("dense", "backward")]


def test_a_fused_kernel_is_shared_out() -> None:
    """It is given in pieces as long as the shares, of which only the first is a call, and a note says so."""
    shares = ((("conv", "forward"), 0.75), (("pool", "forward"), 0.25))
    kernels, _ = read(event("fusion", 0, 8, hlo_op="fusion"), instruction={"fusion": shares})
    assert [(kernel.layer, kernel.start, kernel.end, kernel.calls) for kernel in kernels] == [
        ("conv", 0, 6, 1),
        ("pool", 6, 8, 0),
    ]
    assert "1 compiled kernel works for several layers" in fused_note([shares, shares[:1]])[0]
    assert fused_note([shares[:1]]) == ()


def test_the_host_is_found_in_the_recording() -> None:
    """Scopes of stays, the wait for a batch inside a graph, and the scopes of layers that run one by one."""
    _, spans = read(
        event("epochwise.host:callback Mine", 0, 5),
        event("IteratorGetNextOp::DoCompute", 6, 9),
        event("epochwise.3", 10, 12),
    )
    assert [(span.place, span.layer) for span in spans] == [
        ("callback Mine", None),
        ("input pipeline", None),
        ("dispatch and Python", "layer 3"),
    ]


def test_operations_called_one_by_one_belong_to_the_scope_around_them() -> None:
    """The kernel is the part in which it runs; whole graphs and what computes nothing do not count."""
    kernels, _ = read(
        event("epochwise.1", 0, 50, thread="python"),
        event("epochwise.2", 5, 20, thread="python"),
        event("EagerLocalExecute: MatMul", 8, 16, thread="python"),
        event("KernelAndDeviceFunc::Run", 10, 14, thread="python"),
        event("EagerLocalExecute: Relu", 30, 36, thread="python"),
        event("KernelAndDeviceFunc::Run", 31, 35, thread="python"),
        event("EagerLocalExecute: Shape", 40, 44, thread="python"),
        event("KernelAndDeviceFunc::Run", 41, 43, thread="python"),
        event("EagerLocalExecute: __inference_step_7", 60, 90, thread="python"),
        event("KernelAndDeviceFunc::Run", 61, 89, thread="python"),
    )
    assert [(kernel.name, kernel.start, kernel.layer) for kernel in kernels] == [
        ("MatMul", 10, "layer 2"),
        ("Relu", 31, "layer 1"),
    ]
