"""Each rule finds what was planted into a made-up record, with its seconds, its place, how sure it is and what is left."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from epochwise.explaining.causes import explain_model
from epochwise.explaining.explanation import Cause, ModelExplanation
from epochwise.measuring.measurement import (
    BATCH,
    DENORMALS_OUT,
    NOT_COMPILED,
    ONE_THREAD,
    HostTime,
    IdleTime,
    Interval,
    KernelTime,
    Probe,
)
from tests.explaining.samples import BATCH as BATCH_SIZE
from tests.explaining.samples import STEPS, counts, machine, measured

STEP = 0.01
"""Seconds of a step of the models here, whose epoch takes a second."""


def explained(of_counts: dict[str, Any] | None = None, **model: Any) -> ModelExplanation:
    """A model of one dense layer, half of whose time is kernels."""
    record = measured(**{"epoch": STEP * STEPS, "busy_share": 0.5, "overhead": 0.0} | model)
    result, _ = explain_model(counts(**(of_counts or {})), record, machine())
    assert math.isclose(math.fsum(cause.seconds for cause in result.causes), STEP * STEPS, rel_tol=1e-9)
    return result


def found(name: str, result: ModelExplanation) -> Cause | None:
    """The cause of this name."""
    return next((cause for cause in result.causes if cause.name == name), None)


def the(name: str, result: ModelExplanation) -> Cause:
    """The cause of this name, which must be there."""
    cause = found(name, result)
    assert cause is not None, [cause.name for cause in result.causes]
    return cause


def kernel(name: str, layer: str | None, phase: str | None, seconds: float, calls: float = 1.0) -> KernelTime:
    return KernelTime(name, layer, phase, seconds, calls)


def probed(name: str, now: float, spread: float = 0.02, batch: int = BATCH_SIZE, **figures: float) -> Probe:
    interval = Interval(now, now * (1 - spread), now * (1 + spread))
    return Probe(name, batch, 30, interval, STEP, figures)


def test_nothing_special_in_a_plain_model() -> None:
    """Kernels, overhead, arithmetic and memory are all there is, and each says how sure it is and by which rule."""
    result = explained()
    names = {cause.name for cause in result.causes if cause.seconds > 1e-6}
    assert names <= {"arithmetic", "memory traffic", "kernel path", "per-step overhead"}
    assert all(cause.sure in {"high", "medium", "low"} and cause.rule for cause in result.causes if cause.seconds > 1e-6)


def test_input_pipeline() -> None:
    """A wait of 30 % that no kernel fills is the input's, exactly, and 70 % of the epoch would be left."""
    cause = the("input pipeline", explained(host=(HostTime("input pipeline", False, 0.3),)))
    assert cause.seconds == pytest.approx(0.3)
    assert cause.left_seconds == pytest.approx(0.7)
    assert cause.sure == "high"
    assert "3 ms for each of 100 batches" in cause.evidence


def test_input_seen_by_the_profiler_alone_is_less_sure() -> None:
    """Inside a graph the share of the profile counts."""
    cause = the("input pipeline", explained(idle=(IdleTime("input pipeline", None, None, 0.002),)))
    assert cause.sure == "medium"
    assert cause.seconds == pytest.approx(0.2)


def test_callbacks_and_validation() -> None:
    """Each callback by its class, during steps and between epochs; the longest first."""
    host = (
        HostTime("callback Slow", False, 0.2),
        HostTime("callback Slow", True, 0.05),
        HostTime("validation", True, 0.1),
        HostTime("turn between epochs", True, 0.05),
    )
    result = explained(host=host, turn=0.2)
    cause = the("callbacks and validation", result)
    assert cause.seconds == pytest.approx(0.35)
    assert [(place.name, place.seconds) for place in cause.places] == [
        ("callback Slow", pytest.approx(0.25)),
        ("validation", pytest.approx(0.1)),
    ]
    assert cause.place == "callback Slow"
    assert the("turn between epochs", result).seconds == pytest.approx(0.05)


def test_threads() -> None:
    """A step that is shorter with one thread: what is spared, from overhead and kernels alike."""
    cause = the("threads", explained(probes=(probed(ONE_THREAD, 0.004, threads=8),)))
    assert cause.seconds == pytest.approx(0.6)
    assert cause.sure == "high"
    assert "with 8 threads" in cause.evidence
    assert "taskset -c 0" in cause.remedy
    assert "torch" not in cause.remedy
    assert cause.left_seconds == pytest.approx(0.4)


@pytest.mark.parametrize(("now", "spread"), [(0.0098, 0.001), (0.009, 0.3), (0.012, 0.01)])
def test_a_probe_that_spares_nothing_names_nothing(now: float, spread: float) -> None:
    """Less than 5 %, within chance, or longer: no cause."""
    assert found("threads", explained(probes=(probed(ONE_THREAD, now, spread),))) is None


def test_a_probe_beside_usual_steps_that_differ_much_names_nothing() -> None:
    """Usual steps were as quick before the trial, and slow after it: that the trial was quick is chance."""
    quick = probed(ONE_THREAD, 0.007)
    assert found("threads", explained(probes=(msgspec.structs.replace(quick, usual_low_seconds_per_step=0.008),))) is not None
    assert found("threads", explained(probes=(msgspec.structs.replace(quick, usual_low_seconds_per_step=0.007),))) is None


def test_denormals() -> None:
    """With zeros in the place of denormal weights a step takes a tenth."""
    cause = the("denormals", explained(busy_share=0.95, probes=(probed(DENORMALS_OUT, 0.001, denormals=0.4),)))
    assert cause.seconds == pytest.approx(0.9)
    assert "40 % of the weights are denormal" in cause.evidence


def test_compiling_that_does_not_pay() -> None:
    """Without the compiler a step is shorter: another lowering would be better."""
    cause = the("lowering", explained(probes=(probed(NOT_COMPILED, 0.005),)))
    assert cause.seconds == pytest.approx(0.5)
    assert "jit_compile=False" in cause.remedy


def test_number_of_steps() -> None:
    """Steps of 10 samples take 10 ms and of 256 take 10.1 ms: nearly all of it does not depend on the batch."""
    cause = the("number of steps", explained(probes=(probed(BATCH, 0.0101, batch=256),)))
    assert cause.seconds == pytest.approx(STEP * STEPS * (1 - 10 / 32), rel=0.01)
    assert cause.left_seconds == pytest.approx(STEP * STEPS * 10 / 32, rel=0.02)


@pytest.mark.parametrize("slower", [0.5, 1.0, 2.0])
def test_what_steps_have_in_common_is_a_share(slower: float) -> None:
    """While batches were tried the machine may be faster or slower than in the blocks; the cause is the same."""
    usual, larger = 0.010 * slower, 0.0592 * slower  # 0.2 ms a sample: 8 of 10 ms are the same whatever the batch
    tried = Probe(BATCH, 256, 30, Interval(larger, larger, larger), usual)
    cause = the("number of steps", explained(probes=(tried,)))
    assert cause.seconds == pytest.approx(0.8 * STEP * STEPS * (1 - 10 / 32), rel=0.01)


def test_a_usual_batch_does_not_make_too_many_steps() -> None:
    """From Keras's own 32 upwards the cost of a step is overhead, not a matter of their number."""
    result = explained({}, probes=(probed(BATCH, 0.0101, batch=256),), batch_size=32)
    assert found("number of steps", result) is None
    assert "measured with 256 samples" in the("per-step overhead", result).remedy


def test_steps_whose_time_grows_with_the_batch_are_not_too_many() -> None:
    """26 times the samples in 26 times the time: nothing is spared by fewer steps."""
    assert found("number of steps", explained(probes=(probed(BATCH, 0.256, batch=256),))) is None


def test_optimizer_sweep() -> None:
    """Kernels of the update are the optimizer's, whatever their roofline; the evidence says over how many weights."""
    kernels = (kernel("dot", "dense", "forward", 0.002), kernel("subtract", "(optimizer)", "update", 0.003))
    cause = the("optimizer sweep", explained({"parameters": 70_000}, kernels=kernels))
    assert cause.seconds == pytest.approx(0.3)
    assert cause.place == "(optimizer)"
    assert "over 70,000 weights" in cause.evidence


def test_lowering_of_a_loop() -> None:
    """A layer with hundreds of short kernels in a step loops; its kernels and its part of the dispatch are the loop's."""
    kernels = (kernel("tanh", "loop", "forward", 0.003, 300), kernel("dot", "dense", "forward", 0.002))
    idle = (
        IdleTime("dispatch and Python", "loop", "forward", 0.004),
        IdleTime("dispatch and Python", None, None, 0.001),
    )
    cause = the("lowering", explained(kernels=kernels, idle=idle))
    assert cause.place == "loop"
    assert cause.seconds == pytest.approx(0.3 + 0.4 + 0.1 * 300 / 301)
    assert "loop runs 300 kernels in a step, 10 us each" in cause.evidence


def test_few_or_long_kernels_are_no_loop() -> None:
    """A layer with 90 kernels, or with many long ones, is not told to loop."""
    assert found("lowering", explained(kernels=(kernel("a", "dense", "forward", 0.005, 90),))) is None
    assert found("lowering", explained(kernels=(kernel("a", "dense", "forward", 0.005, 20),))) is None


def test_copies_are_memory_traffic() -> None:
    """Kernels that only copy and convert are no slow arithmetic; the layer that has them is named."""
    kernels = (kernel("aten::copy_", "cast", "forward", 0.004), kernel("dot", "dense", "forward", 0.001))
    cause = the("memory traffic", explained({"other_layers": ("cast",)}, kernels=kernels))
    assert cause.seconds == pytest.approx(0.4, rel=0.01)
    assert cause.place == "cast"
    assert "only copy or convert" in cause.evidence


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("copy.3", True),
        ("transpose_copy_fusion", True),
        ("wrapped_convert", True),
        ("convert_add_fusion", False),
        ("dot.1", False),
    ],
)
def test_which_kernels_only_move(name: str, moves: bool) -> None:
    """By every word of their names: one that computes makes it a kernel that computes."""
    from epochwise.explaining.evidence import only_moves

    assert only_moves(kernel(name, "x", "forward", 1.0)) is moves


def test_python_inside_a_kernel_is_overhead() -> None:
    """A kernel that calls back into Python computes nothing itself; its layer is named."""
    kernels = (kernel("PyFunc", "lambda", "forward", 0.004), kernel("dot", "dense", "forward", 0.001))
    cause = the("per-step overhead", explained({"other_layers": ("lambda",)}, kernels=kernels))
    assert cause.place is None  # the rest of the step waits as long
    assert cause.places[0].name == "lambda"
    assert "lambda calls Python" in cause.evidence


def test_device_transfer() -> None:
    """Copies to and from a device, wherever the profile puts them."""
    kernels = (kernel("Memcpy HtoD (Pageable -> Device)", None, None, 0.003), kernel("dot", "dense", "forward", 0.002))
    assert the("device transfer", explained(kernels=kernels)).seconds == pytest.approx(0.3)


def test_compilation_is_a_cause_of_the_first_epoch_alone() -> None:
    """It is in no later epoch; its seconds are those beyond a step."""
    result = explained(first_step=3.0)
    (cause,) = result.first_epoch_causes
    assert (cause.name, cause.sure) == ("compilation", "high")
    assert cause.seconds == pytest.approx(3.0 - STEP)
    assert found("compilation", result) is None


def test_without_a_profile_what_was_timed_is_named() -> None:
    """Input and callbacks are known; kernels and overhead are one joint cause that says so."""
    result = explained(busy_share=None, host=(HostTime("input pipeline", False, 0.3),))
    assert the("input pipeline", result).seconds == pytest.approx(0.3)
    assert the("kernel path or per-step overhead", result).sure == "low"


def test_the_epoch_stays_whole_whatever_is_found() -> None:
    """All rules at once: no second is counted twice, and none is lost."""
    kernels = (
        kernel("dot", "dense", "forward", 0.001),
        kernel("aten::copy_", "dense", "forward", 0.001),
        kernel("mul", "loop", "forward", 0.001, 400),
        kernel("sgd", "(optimizer)", "update", 0.001),
        kernel("lost", None, None, 0.001),
    )
    probes = (probed(ONE_THREAD, 0.009), probed(DENORMALS_OUT, 0.008, denormals=0.1), probed(BATCH, 0.02, batch=256))
    host = (HostTime("input pipeline", False, 0.1), HostTime("callback A", False, 0.1))
    result = explained({"macs": 500, "bytes_moved": 3000}, kernels=kernels, probes=probes, host=host)
    assert len(result.causes) >= 6
    assert msgspec.json.decode(msgspec.json.encode(result), type=ModelExplanation) == result
