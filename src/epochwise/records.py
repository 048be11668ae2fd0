"""What all results have in common: they can be saved as JSON, and show themselves in a notebook.

Rooms below `reporting` define records, and only `reporting` knows how to draw them. So that imports go one way, and so that a
record costs nothing to import, the drawing is looked up by its module's name at the moment when a notebook asks for it.
"""

from __future__ import annotations

import importlib
import math

import msgspec

from epochwise.errors import RecordError

DRAWN_BY = "epochwise.reporting.html"
"""The module whose ``notebook(record)`` draws any record."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the results that are saved and drawn: counts, machine, comparison, demo. Each has a field ``schema``."""

    def to_json(self) -> str:
        """The record as JSON: indented, fields always in the same order. `epochwise report` draws it again.

        Raises:
            RecordError: a figure is infinite or not a number, which JSON cannot hold.
        """
        place = _not_finite(msgspec.to_builtins(self), "")
        if place:
            raise RecordError(f"The result cannot be saved: {place}, which JSON cannot hold.", cause="training that diverged")
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        shown: str = importlib.import_module(DRAWN_BY).notebook(self)
        return shown


def _not_finite(value: object, place: str) -> str | None:
    """Where in nested lists and dictionaries the first float is that is infinite or not a number, as ``a.b[2] is nan``."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place.lstrip('.')} is {value}"
    if isinstance(value, dict):
        return next(filter(None, (_not_finite(part, f"{place}.{name}") for name, part in value.items())), None)
    if isinstance(value, list | tuple):
        return next(filter(None, (_not_finite(part, f"{place}[{number}]") for number, part in enumerate(value))), None)
    return None
