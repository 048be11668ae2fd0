"""Measured machines, kept as one JSON file each in the user's cache folder, by fingerprint.

Files are written whole or not at all, so processes may read and write at once. Nothing that goes wrong here stops anybody: what
cannot be read is measured again, what cannot be written is measured again next time, and a note says so.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from epochwise.errors import EpochwiseError, RecordError
from epochwise.files import write_text
from epochwise.machines.machine import Machine

FOLDER_VARIABLE = "EPOCHWISE_CACHE"


def path_of(fingerprint: str) -> Path:
    """Where the machine of this fingerprint is kept: below ``EPOCHWISE_CACHE``, or the user's cache folder."""
    folder = os.environ.get(FOLDER_VARIABLE) or platformdirs.user_cache_dir("epochwise")
    return Path(folder) / "machine" / f"{fingerprint}.json"


def load(fingerprint: str) -> tuple[Machine | None, list[str]]:
    """The machine kept for this fingerprint, or ``None``; and a note where there was something that could not be read."""
    path = path_of(fingerprint)
    try:
        found = Machine.from_json(path.read_bytes())
        if found.fingerprint != fingerprint:
            raise RecordError("It is the record of another machine.")
    except FileNotFoundError:
        return None, []
    except (OSError, RecordError) as error:
        return None, [f"The kept measurement {path} could not be read and was made again. {error}"]
    return found, []


def save(machine: Machine) -> list[str]:
    """Keep a machine; a note where that is not possible."""
    path = path_of(machine.fingerprint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, machine.to_json(), force=True)
    except (OSError, EpochwiseError) as error:
        return [f"The measurement could not be kept in {path.parent} and is made again next time. {error}"]
    return []
