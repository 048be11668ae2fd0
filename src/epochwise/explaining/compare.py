"""Counts + machine + measurement -> why the second model takes so many times as long as the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from epochwise.errors import UsageError, WorkerDiedError
from epochwise.explaining.causes import explain_model
from epochwise.explaining.difference import cause_differences, part_differences
from epochwise.explaining.explanation import Comparison, summary
from epochwise.explaining.identity import ratio_of
from epochwise.explaining.notes import counting_notes
from epochwise.explaining.sentences import answer
from epochwise.explaining.wording import FRAMEWORKS
from epochwise.machines.machine import Machine
from epochwise.machines.measure import machine as this_machine
from epochwise.measuring.live import measure_live
from epochwise.measuring.measure import Measured, Progress, measure
from epochwise.measuring.measurement import Measurement
from epochwise.measuring.messages import Load
from epochwise.subjects.loading import subject_of


def compare_named(loads: Sequence[Load], seconds: float, progress: Progress | None = None) -> Comparison:
    """Measure two models given by name, and explain the ratio of their epoch times.

    Args:
        loads: the two models with their data.
        seconds: measuring budget, see :func:`epochwise.measuring.measure.measure`.
        progress: told how far it is.

    Raises:
        EpochwiseError: see :func:`epochwise.measuring.measure.measure`.
    """
    processor = this_machine(progress=progress)
    return explain_ratio(measure(loads, seconds, progress), processor)


def compare(
    models: Mapping[str, Any],
    x: Any,
    y: Any,
    *,
    batch_size: int = 32,
    seconds: float = 60.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Measure two live models in turn, and explain the ratio of their epoch times.

    The models are trained here, in this process, with their own training loops; afterwards they are as they were before:
    weights, optimizer, metrics and random state.

    Args:
        models: exactly two, by name: Keras models of the active backend (compiled, or with outputs that say which loss fits) or
            ``torch.nn.Module``. The second is compared with the first.
        x: samples, an array of shape ``(N, ...)``.
        y: labels ``(N,)``, one-hot rows ``(N, K)``, or numbers to predict.
        batch_size: samples in a step.
        seconds: measuring budget: undisturbed training of both models together.
        seed: for models that are not built yet.
        progress: called with what is done, of how much, and what is being done.

    Raises:
        UsageError: not exactly two models.
        EpochwiseError: models or data that cannot be trained, or a budget too small; see :mod:`epochwise.errors`.
    """
    if len(models) != 2:  # noqa: PLR2004 - a ratio has two sides
        raise UsageError(
            f"compare needs exactly two models, and was given {len(models)}: {', '.join(models) or 'none'}.",
            remedy='epochwise.compare({"mlp": first, "cnn": second}, x, y)',
        )
    subjects = [subject_of(model, x, y, name=name, batch_size=batch_size, seed=seed) for name, model in models.items()]
    processor = this_machine(progress=progress)
    return explain_ratio(measure_live(subjects, batch_size=batch_size, seconds=seconds, progress=progress), processor)


def explain_kept(error: WorkerDiedError) -> Comparison | None:
    """The explanation of what was measured before a worker died, if that was enough for a ratio."""
    return explain_ratio(error.kept, this_machine()) if isinstance(error.kept, Measured) else None


def explain_ratio(measured: Measured, processor: Machine) -> Comparison:
    """Explain two models that were measured in turn.

    Args:
        measured: of exactly two models.
        processor: peaks of this computer's processor; those of an accelerator, if there is one, came with the measurement.

    Raises:
        ValueError: not two models, or no ratio.
    """
    measurement = measured.measurement
    if measurement.ratio is None:
        raise ValueError(f"a ratio needs two models, got {len(measurement.models)}")
    machine = next((peaks for peaks in measured.accelerators if peaks is not None), processor)
    (first, one), (second, two) = (
        explain_model(counts, model, machine) for counts, model in zip(measured.counts, measurement.models, strict=True)
    )
    factors = ratio_of(one, two)
    causes = cause_differences(first, second)
    backends = dict.fromkeys(model.backend for model in measurement.models)
    where = " against ".join(FRAMEWORKS[backend] for backend in backends)
    return Comparison(
        backend=" / ".join(backends),
        models=(first, second),
        ratio=measurement.ratio,
        factors=factors,
        differences=part_differences(first, second),
        causes=causes,
        machine=machine,
        measurement=summary(measurement),
        answer=answer(first, second, measurement.ratio, factors, causes, where),
        notes=(
            *measurement.notes,
            *_devices(measurement),
            *counting_notes(first.counts, second.counts),
        ),
    )


def _devices(measurement: Measurement) -> list[str]:
    """A note where the two models did not run on the same device: then one device's roofline is held against both."""
    first, second = measurement.models
    if first.device == second.device:
        return []
    return [
        f"{first.name} ran on {first.device} and {second.name} on {second.device}; the roofline of the accelerator is held"
        " against both, so the factors memory and kernels compare devices as well as models."
    ]
