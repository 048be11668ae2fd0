"""Counts + machine + measurement -> where an epoch of one model goes, why, and what it could be."""

from __future__ import annotations

from typing import Any

from epochwise.errors import WorkerDiedError
from epochwise.explaining.causes import explain_model
from epochwise.explaining.epoch_sentences import answer
from epochwise.explaining.explanation import Explanation, summary
from epochwise.explaining.notes import counting_notes
from epochwise.explaining.what_if import what_ifs
from epochwise.machines.machine import Machine
from epochwise.machines.measure import machine as this_machine
from epochwise.measuring.live import measure_live
from epochwise.measuring.measure import Measured, Progress, measure
from epochwise.measuring.messages import Load
from epochwise.subjects.loading import subject_of


def explain_named(load: Load, seconds: float, progress: Progress | None = None) -> Explanation:
    """Measure a model given by name, and explain its epoch.

    Args:
        load: the model with its data.
        seconds: measuring budget, see :func:`epochwise.measuring.measure.measure`.
        progress: told how far it is.

    Raises:
        EpochwiseError: see :func:`epochwise.measuring.measure.measure`.
    """
    processor = this_machine(progress=progress)
    return explain_measured(measure([load], seconds, progress), processor)


def explain(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    batch_size: int = 32,
    seconds: float = 30.0,
    seed: int = 0,
    name: str | None = None,
    progress: Progress | None = None,
    **fit: Any,
) -> Explanation:
    """Measure a live model, and explain where its epoch goes.

    The model is trained here, in this process, with its own training loop; afterwards it is as before: weights, optimizer,
    metrics and random state.

    Args:
        model: a Keras model of the active backend (compiled, or one whose outputs say which loss fits) or a
            ``torch.nn.Module``.
        x: samples, an array of shape ``(N, ...)``; or what gives batches ``(x, y)``: a generator that does not end (with
            ``steps_per_epoch``), a ``keras.utils.PyDataset``, a ``tf.data.Dataset``, a PyTorch ``DataLoader``.
        y: labels ``(N,)``, one-hot rows ``(N, K)``, or numbers to predict; ``None`` with batches.
        batch_size: samples in a step.
        seconds: measuring budget: undisturbed training.
        seed: for a model that is not built yet.
        name: for the record; by default the model's own.
        progress: called with what is done, of how much, and what is being done.
        fit: what else your ``fit`` is given: ``callbacks``, ``validation_data``, ``validation_freq``, ``steps_per_epoch`` and
            others of :data:`epochwise.subjects.feeding.FIT_ARGUMENTS`.

    Raises:
        EpochwiseError: a model or data that cannot be trained, or a budget too small; see :mod:`epochwise.errors`.
    """
    called = name or str(getattr(model, "name", "") or type(model).__name__)
    subject = subject_of(model, x, y, name=called, batch_size=batch_size, seed=seed, extras=fit)
    processor = this_machine(progress=progress)
    return explain_measured(measure_live([subject], batch_size=batch_size, seconds=seconds, progress=progress), processor)


def explain_kept(error: WorkerDiedError) -> Explanation | None:
    """The explanation of what was measured before a worker died, if that was enough for an interval."""
    return explain_measured(error.kept, this_machine()) if isinstance(error.kept, Measured) else None


def explain_measured(measured: Measured, processor: Machine) -> Explanation:
    """Explain one model that was measured.

    Args:
        measured: of exactly one model.
        processor: peaks of this computer's processor; those of an accelerator, if there is one, came with the measurement.

    Raises:
        ValueError: not one model.
    """
    measurement = measured.measurement
    (one,) = measurement.models
    machine = next((peaks for peaks in measured.accelerators if peaks is not None), processor)
    model, _ = explain_model(measured.counts[0], one, machine)
    predicted = what_ifs(model)
    return Explanation(
        backend=one.backend,
        model=model,
        what_ifs=predicted,
        machine=machine,
        measurement=summary(measurement),
        answer=answer(model, predicted),
        notes=(*measurement.notes, *counting_notes(model.counts)),
    )
