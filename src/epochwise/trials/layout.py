"""How a store looks inside, and how to tell one of ours that is whole from anything else."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from epochwise.trials.encoding import digest

APPLICATION_ID = 0x65706F63  # "epoc"
LAYOUT = 1
"""Version of the table; raise it when that changes."""

COLUMNS = "key, description, numbers, arrays, measured, engine, digest, seconds, version, machine, backend, finished_at"

_TABLE = """
CREATE TABLE IF NOT EXISTS trials (
    key TEXT PRIMARY KEY,       -- SHA-256 of the description
    description TEXT NOT NULL,  -- JSON: run, recipe, arguments
    numbers BLOB NOT NULL,      -- MessagePack
    arrays BLOB NOT NULL,       -- MessagePack: name -> (type, shape, bytes)
    measured BLOB NOT NULL,     -- MessagePack
    engine TEXT NOT NULL,
    digest TEXT NOT NULL,       -- SHA-256 of numbers and arrays
    seconds REAL NOT NULL,
    version TEXT NOT NULL,      -- of epochwise
    machine TEXT NOT NULL,
    backend TEXT NOT NULL,
    finished_at TEXT NOT NULL   -- ISO 8601, UTC
) STRICT
"""


def create(connection: sqlite3.Connection) -> None:
    """Make the table in an empty file, whole or not at all; in a store that is there, see by a small write whether one can.

    Raises:
        sqlite3.Error: it cannot be written to.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if is_empty(connection):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(_TABLE)
        connection.execute(f"PRAGMA user_version = {LAYOUT}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def what_is_wrong(connection: sqlite3.Connection) -> str:
    """Why this is no store of ours that is whole, as the rest of a sentence; nothing if it is one, or is empty.

    Reads all of it.

    Raises:
        sqlite3.OperationalError: it cannot be read now; nothing is said about what is in it.
    """
    try:
        return "" if is_empty(connection) else _wrong_kind(connection) or _wrong_content(connection)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return f"is damaged, or no store of trials ({error})"


def set_aside(path: Path) -> Path:
    """Give the file, and journals that belong to it, a name that nobody has: ``<name>.aside-<number>``."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    for ending in ("", "-journal", "-wal", "-shm"):
        piece = path.with_name(path.name + ending)
        if piece.exists():
            piece.rename(aside.with_name(aside.name + ending))
    return aside


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing has been written to this file yet.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return int(tables) == 0 and int(application) == 0


def _wrong_kind(connection: sqlite3.Connection) -> str:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        return "is another program's database"
    if layout != LAYOUT:
        return f"was written by another version of epochwise (its layout is {layout}, that of this version {LAYOUT})"
    return ""


def _wrong_content(connection: sqlite3.Connection) -> str:
    (report,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if report != "ok":
        return f"is damaged ({report.strip().splitlines()[-1]})"
    try:
        rows = connection.execute(f"SELECT {COLUMNS} FROM trials")
    except sqlite3.OperationalError as error:
        return f"is damaged ({error})"  # no such table, no such column
    for key, _, numbers, arrays, _, _, expected, *_ in rows:
        if digest(numbers, arrays) != expected:
            return f"is damaged (the result {key[:8]} has other bits than when it was kept)"
    return ""
