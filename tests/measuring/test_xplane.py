"""Kernels in recordings of XLA and TensorFlow: what counts, from when to when, and what does not."""

from __future__ import annotations

from epochwise.measuring.xplane import WINDOW, Place, TraceEvent, kernel_events


def nowhere(name: str) -> Place:
    del name
    return None, None


def event(
    name: str, start: float, end: float, thread: str = "tf_Compute/1", plane: str = "/host:CPU", **stats: object
) -> TraceEvent:
    return TraceEvent(plane, thread, name, start, end, dict(stats))


def spans(*events: TraceEvent) -> list[tuple[str, float, float]]:
    return [(kernel.name, kernel.start, kernel.end) for kernel in kernel_events(events, nowhere, nowhere)]


def test_an_asynchronous_thunk_lasts_until_its_end_event() -> None:
    """A convolution that hands its work to other threads is busy until ``end:``, not until its own event returns."""
    found = spans(
        event("conv", 0, 5, hlo_op="conv", _p=7),
        event("end: conv", 20, 21, _c=7),
        event("add", 30, 32, hlo_op="add", _p=8),
        event("end: other", 90, 91, _c=99),
    )
    assert found == [("conv", 0, 21), ("add", 30, 32)]


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
    kernels = kernel_events(
        [event("conv", 0, 5, hlo_op="conv.1", _p=1), event("x/y:Relu", 6, 7)],
        lambda name: (f"instruction {name}", "forward"),
        lambda name: (f"node {name}", "backward"),
    )
    assert [(kernel.layer, kernel.phase) for kernel in kernels] == [("instruction conv.1", "forward"), ("node x/y", "backward")]
