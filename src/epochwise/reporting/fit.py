"""Draws a :class:`~epochwise.engine.result.Fit` for the terminal: a line per epoch, and what it came to."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from epochwise.engine.result import Fit, Score
from epochwise.explaining.wording import FRAMEWORKS
from epochwise.reporting.figures import NOTHING, exact_text, share_text, unit_for
from epochwise.reporting.terminal import blocks, heading, notes, pairs, plain_table

WITH_KERAS = "keras"


def render(record: Fit) -> RenderableType:
    """The whole run, for 80 columns and more."""
    table = plain_table()
    head, *rows = epoch_rows(record)
    for name in head:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return blocks(
        heading(f"{record.name}, trained"), pairs(setting(record)), table, pairs(outcome(record)), notes(record.notes)
    )


def setting(record: Fit) -> list[tuple[str, str]]:
    """What was trained with what, by label."""
    backend = FRAMEWORKS.get(record.backend, record.backend)
    if record.engine == WITH_KERAS:
        engine = f"none: {backend} trained it"
    else:
        threads = "1 thread" if record.threads == 1 else f"{record.threads} threads"
        engine = f"{record.engine}, {threads}; conventions of {backend}"
    return [
        ("engine", engine),
        ("data", record.data),
        ("batch", f"{record.batch_size:,} samples, of {record.samples:,} in an epoch"),
        ("parameters", exact_text(record.parameters)),
    ]


def epoch_rows(record: Fit) -> list[tuple[str, ...]]:
    """The heads of the columns, then a row for each epoch."""
    held = any(epoch.validation is not None for epoch in record.epochs)
    unit = unit_for(max((epoch.seconds for epoch in record.epochs), default=1.0))
    heads = ["epoch", "loss", "accuracy", *(["val. loss", "val. accuracy"] if held else []), f"time ({unit.name})"]
    rows = [tuple(heads)]
    for number, epoch in enumerate(record.epochs, start=1):
        cells = [str(number), *scores(Score(epoch.loss, epoch.accuracy))]
        cells += scores(epoch.validation or Score(None, None)) if held else []
        rows.append((*cells, unit.text(epoch.seconds)))
    return rows


def outcome(record: Fit) -> Sequence[tuple[str, str]]:
    """What it came to on samples that it has not seen."""
    if record.test is None:
        return [("test", "the data have no test samples")]
    loss, accuracy = scores(record.test)
    return [("test", f"loss {loss}" + (f", accuracy {accuracy}" if record.test.accuracy is not None else ""))]


def scores(score: Score) -> list[str]:
    """Loss and accuracy as text."""
    loss = NOTHING if score.loss is None else f"{score.loss:.4f}"
    return [loss, NOTHING if score.accuracy is None else share_text(score.accuracy)]
