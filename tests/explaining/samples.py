"""Invented counts, machines and measurements, of which everything is known."""

from __future__ import annotations

from epochwise.counting.counts import Counts, LayerCounts, MemoryBytes, Parameters, PerSample, Work
from epochwise.machines.machine import BandwidthPoint, Machine, Peak
from epochwise.measuring.measure import Measured
from epochwise.measuring.measurement import (
    Block,
    EpochEnd,
    HostTime,
    IdleTime,
    Interval,
    KernelTime,
    Measurement,
    ModelMeasurement,
    Probe,
    Profile,
)

BATCH, SAMPLES, STEPS = 10, 1000, 100


def machine(peak: float = 1e9, bandwidth: float = 1e9) -> Machine:
    """A machine with the same bandwidth everywhere."""
    return Machine(
        name="test",
        device="cpu",
        cores=1,
        caches=(),
        memory_bytes=1 << 30,
        peak_flops_per_second=Peak(peak, peak, 0.0),
        bandwidth=(BandwidthPoint(1024, bandwidth), BandwidthPoint(1 << 20, bandwidth)),
        measured_at="2026-01-01T00:00:00Z",
        measuring_seconds=1.0,
        fingerprint="test",
    )


def counts(
    name: str = "model", parameters: int = 1000, macs: int = 5000, bytes_moved: int = 0, other_layers: tuple[str, ...] = ()
) -> Counts:
    """One layer with all the work, forward; ``macs`` and ``bytes_moved`` of a step."""
    rows = [_row("dense", parameters, Work(macs=macs, bytes=bytes_moved))]
    rows += [_row(other, 0, Work()) for other in other_layers]
    return Counts(
        name=name,
        backend="jax",
        batch_size=BATCH,
        parameters=Parameters(parameters, 0),
        per_sample=PerSample(macs // BATCH, macs // BATCH, 2 * macs // BATCH, 2 * macs // BATCH, 100),
        layers=tuple(rows),
        memory_bytes=MemoryBytes(4 * parameters, 4 * parameters, 0, 0, 0),
    )


def _row(name: str, parameters: int, work: Work) -> LayerCounts:
    return LayerCounts(name, "Dense", parameters, work.macs // BATCH, 0, 0, (None, 10), 10, 1, work, Work(), Work())


def measured(
    name: str = "model",
    epoch: float = 1.0,
    busy_share: float | None = 0.5,
    turn: float | None = 0.0,
    layers: dict[str | None, float] | None = None,
    accuracies: tuple[float, ...] = (),
    overhead: float = 0.1,
    host: tuple[HostTime, ...] = (),
    idle: tuple[IdleTime, ...] = (),
    stays: dict[str, float] | None = None,
    kernels: tuple[KernelTime, ...] | None = None,
    probes: tuple[Probe, ...] = (),
    first_step: float = 1.0,
    batch_size: int = BATCH,
) -> ModelMeasurement:
    """A model whose epoch takes ``epoch`` seconds; ``layers`` are shares of its busy time.

    ``host`` is in seconds of an epoch; ``idle``, ``stays`` and ``kernels`` in seconds of a profiled step.
    """
    step = (epoch - (turn or 0.0)) / STEPS
    profile = None
    if busy_share is not None:
        wall = step * (1 + overhead)
        kernels = kernels or tuple(
            KernelTime("kernel", layer, None if layer is None else "forward", share * busy_share * wall, 1.0)
            for layer, share in (layers or {"dense": 1.0}).items()
        )
        profile = Profile(
            tool="test",
            steps=10,
            wall_seconds_per_step=wall,
            undisturbed_seconds_per_step=step,
            busy_seconds_per_step=sum(kernel.seconds_per_step for kernel in kernels),
            kernels=kernels,
            idle=idle,
            stays=stays or {},
        )
    return ModelMeasurement(
        name=name,
        backend="jax",
        samples=SAMPLES,
        batch_size=batch_size,
        steps_per_epoch=STEPS,
        host=host,
        probes=probes,
        epoch_seconds=Interval(epoch, 0.95 * epoch, 1.05 * epoch),
        whole_epochs=False,
        turn_seconds=turn,
        turns=() if turn is None else (turn,),
        blocks=(Block(0.0, 10, 10 * step),),
        first_step_seconds=first_step,
        first_epoch_seconds=2.0,
        first_epoch_extrapolated=False,
        epochs=tuple(
            EpochEnd(number + 1, (number + 1) * epoch, {}, {"accuracy": accuracy}) for number, accuracy in enumerate(accuracies)
        ),
        profile=profile,
        threads={},
        versions={},
        device="cpu",
        peak_memory_bytes=1,
    )


def pair(first: ModelMeasurement, second: ModelMeasurement, first_counts: Counts, second_counts: Counts) -> Measured:
    """The two as one measurement."""
    ratio = second.epoch_seconds.median / first.epoch_seconds.median
    interval = Interval(ratio, 0.97 * ratio, 1.03 * ratio)
    return Measured(_measurement((first, second), interval), (first_counts, second_counts), (None, None))


def alone(model: ModelMeasurement, of_counts: Counts) -> Measured:
    """One model, measured by itself."""
    return Measured(_measurement((model,), None), (of_counts,), (None,))


def _measurement(models: tuple[ModelMeasurement, ...], ratio: Interval | None) -> Measurement:
    return Measurement(
        models=models,
        ratio=ratio,
        pairs=1,
        budget_seconds=1.0,
        measuring_seconds=1.0,
        other_load_cores=None,
        data="invented",
    )
