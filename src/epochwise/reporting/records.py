"""Saved results, read again: the field ``schema`` says what a file holds and in which version."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from epochwise.counting.counts import Counts
from epochwise.counting.side_by_side import SideBySide
from epochwise.engine.result import Fit
from epochwise.errors import RecordError, UsageError
from epochwise.experiments.record import Evidence
from epochwise.explaining.explanation import Comparison, Demo, Explanation
from epochwise.machines.machine import Machine
from epochwise.records import Record

AnyRecord = Counts | SideBySide | Machine | Explanation | Comparison | Demo | Fit | Evidence

KINDS: dict[str, type[AnyRecord]] = {
    "count": Counts,
    "counts": SideBySide,
    "machine": Machine,
    "explain": Explanation,
    "compare": Comparison,
    "demo": Demo,
    "fit": Fit,
    "evidence": Evidence,
}
"""By the middle of the schema: ``epochwise/count/1``."""
VERSION = 1
HOW_TO = "epochwise compare MODEL MODEL --json result.json"


class _Head(msgspec.Struct):
    schema: str


def to_json(record: Record) -> str:
    """The record as JSON: indented, fields always in the same order.

    Raises:
        RecordError: a figure is infinite or not a number.
    """
    return record.to_json()


def from_json(text: str | bytes) -> AnyRecord:
    """The record that :func:`to_json` wrote.

    Raises:
        RecordError: not JSON, no schema, a schema that is not known, a newer version, or fields that are missing or wrong.
    """
    kind = _kind(text)
    try:
        return Machine.from_json(text) if kind is Machine else msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise RecordError(
            f"The result cannot be read: {_place(str(error))}.",
            cause="the file was edited, or made by another version of epochwise",
            remedy=HOW_TO,
        ) from error


def load(path: str | Path) -> AnyRecord:
    """The record saved in a file.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        RecordError: see :func:`from_json`.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {path}.", cause="a misspelt path", remedy=HOW_TO) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", remedy="the name of a file made with --json") from error
    try:
        return from_json(content)
    except RecordError as error:
        raise RecordError(f"{path}: {error.what}", cause=error.cause, remedy=error.remedy) from error


def _kind(text: str | bytes) -> type[AnyRecord]:
    """The record's type, from its schema."""
    try:
        schema = msgspec.json.decode(text, type=_Head).schema
    except msgspec.ValidationError as error:
        raise RecordError(
            'The result has no schema: it should begin with {"schema": "epochwise/compare/1", ...}.',
            cause="JSON that epochwise did not write",
            remedy=HOW_TO,
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(
            f"The result is not JSON: {str(error).removeprefix('JSON is malformed: ')}.",
            cause="another file, or one whose writing was cut short",
            remedy=HOW_TO,
        ) from error
    found = re.fullmatch(r"epochwise/([a-z]+)/([0-9]+)", schema)
    if not found or found[1] not in KINDS:
        known = ", ".join(f"epochwise/{name}/{VERSION}" for name in KINDS)
        raise RecordError(f"The schema {schema!r} is not known. Known are {known}.", cause="JSON that epochwise did not write")
    if int(found[2]) != VERSION:
        age, remedy = ("a newer", "pip install --upgrade epochwise") if int(found[2]) > VERSION else ("an older", HOW_TO)
        raise RecordError(
            f"The result was made by {age} epochwise: its schema is {schema}; this one reads epochwise/{found[1]}/{VERSION}.",
            remedy=remedy,
        )
    return KINDS[found[1]]


def _place(message: str) -> str:
    """Msgspec's message with the place first: ``models[0].counts: expected `int`, got `str```."""
    what, _, place = message.partition(" - at ")
    what = what[:1].lower() + what[1:]
    place = place.strip("`").removeprefix("$").removeprefix(".")
    return f"{place}: {what}" if place else what
