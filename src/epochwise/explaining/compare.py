"""Counts + machine + measurement -> why the second model takes so many times as long as the first."""

from __future__ import annotations

from collections.abc import Sequence

from epochwise.explaining.causes import explain_model
from epochwise.explaining.explanation import Comparison, ModelExplanation, summary
from epochwise.explaining.identity import ratio_of
from epochwise.explaining.sentences import answer
from epochwise.machines.machine import Machine
from epochwise.machines.measure import machine as this_machine
from epochwise.measuring.measure import Measured, Progress, measure
from epochwise.measuring.messages import Load

FRAMEWORKS = {
    "tensorflow": "Keras on TensorFlow",
    "jax": "Keras on JAX",
    "torch": "Keras on PyTorch",
    "pytorch": "plain PyTorch",
}


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
    backends = dict.fromkeys(model.backend for model in measurement.models)
    where = " against ".join(FRAMEWORKS[backend] for backend in backends)
    return Comparison(
        backend=" / ".join(backends),
        models=(first, second),
        ratio=measurement.ratio,
        factors=factors,
        machine=machine,
        measurement=summary(measurement),
        answer=answer(first, second, measurement.ratio, factors, where),
        notes=(*measurement.notes, *_notes(first.counts.notes, second.counts.notes), *_uncounted(first, second)),
    )


def _notes(*groups: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(note for group in groups for note in group))


def _uncounted(*models: ModelExplanation) -> list[str]:
    notes = []
    for model in models:
        rows = model.counts.uncounted
        if rows:
            names = ", ".join(dict.fromkeys(row.operation for row in rows))
            notes.append(f"{model.name} has operations without a rule, whose work is in no figure: {names}.")
    return notes
