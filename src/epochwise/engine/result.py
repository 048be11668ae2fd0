"""The record of a training run that the command line made."""

from __future__ import annotations

import msgspec

from epochwise.records import Record

SCHEMA = "epochwise/fit/1"


class Score(msgspec.Struct, frozen=True):
    """How well a model does on some data.

    Attributes:
        loss: mean loss, penalties included; ``null`` where it is not a number.
        accuracy: share of correct answers from 0 to 1; ``null`` where the model has no such metric.
    """

    loss: float | None
    accuracy: float | None


class Epoch(msgspec.Struct, frozen=True):
    """One epoch.

    Attributes:
        loss: mean over the samples, each as its batch was trained, penalties included; ``null`` where it is not a number.
        accuracy: share of correct answers in the same way, from 0 to 1; ``null`` where the model has no such metric.
        seconds: what training took, without validation.
        validation: on the samples that were held back; ``null`` without ``--validation-split``.
    """

    loss: float | None
    accuracy: float | None
    seconds: float
    validation: Score | None = None


class Fit(Record, frozen=True, kw_only=True):
    """A training run: what came out, and how long it took.

    Attributes:
        schema: ``epochwise/fit/1``.
        name: the model's name.
        engine: what trained it: ``keras`` where the engine did not cover the model and ``--fallback`` was given.
        threads: how many the engine used; ``null`` with ``keras``.
        backend: of Keras: ``tensorflow``, ``jax`` or ``torch``. The engine follows its conventions.
        batch_size: samples of a step.
        samples: how many were trained on in each epoch.
        data: name and origin of the data.
        seed: of weights, order and dropout.
        parameters: how many numbers the model's weights hold.
        epochs: in order.
        test: on the test samples after the last epoch; ``null`` where the data have none.
        notes: what a reader must know to trust the figures.
    """

    schema: str = SCHEMA
    name: str
    engine: str
    threads: int | None
    backend: str
    batch_size: int
    samples: int
    data: str
    seed: int
    parameters: int
    epochs: tuple[Epoch, ...]
    test: Score | None
    notes: tuple[str, ...] = ()
