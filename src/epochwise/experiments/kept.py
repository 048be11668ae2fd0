"""The record of the experiments that ships with the package: measured on the day in its name, on the machine that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from epochwise.experiments.record import Evidence

FOLDER = Path(__file__).parent / "records"
NAME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})-evidence\.json")


class Kept(NamedTuple):
    """A record and the day on which it was made, as ``2026-01-31``."""

    day: str
    record: Evidence


def kept() -> Kept | None:
    """The newest record that is there, or ``None`` where none is."""
    named = sorted((found[1], path) for path in FOLDER.glob("*.json") if (found := NAME.fullmatch(path.name)))
    if not named:
        return None
    day, path = named[-1]
    return Kept(day, msgspec.json.decode(path.read_bytes(), type=Evidence))
