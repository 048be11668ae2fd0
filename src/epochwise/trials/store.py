"""The file in which results are kept: one SQLite database, written by one process, readable meanwhile by others.

**Why a rollback journal and not a write-ahead log (WAL).** Both survive a kill and a power failure. A log needs memory that is
shared between processes, which network file systems do not give, and two more files that belong to the database. Here a few
results come in a second, so the log's speed would gain nothing. ``synchronous=EXTRA`` also syncs the folder after the journal
is removed: a result that was told as kept is kept.

**What is not a store of ours** (unreadable, cut short, another program's, another layout) is given another name, and a new
store is begun: nothing is overwritten, and nothing is lost but the time to train again.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from epochwise.errors import StoreError
from epochwise.trials.encoding import decode_arrays, decode_numbers, digest
from epochwise.trials.events import Finished
from epochwise.trials.layout import COLUMNS, create, is_empty, set_aside, what_is_wrong
from epochwise.trials.locks import SoleUse
from epochwise.trials.trial import Result, Trial

BUSY_SECONDS = 30.0
"""How long to wait for somebody in the middle of a look or a write; these take milliseconds."""

_NEXT_RUN = "the next run keeps it aside under another name, and begins a new one"


class Store:
    """Results by their trials. A context manager.

    Args:
        path: of the file; it is made where it is missing, and so is its folder.
        writing: false to look only, which works while another process writes. A file that is missing is an empty store then.

    Attributes:
        path: of the file.
        notes: what the user should be told, such as a file that was kept aside.

    Raises:
        StoreError: another process writes to it; it cannot be written or read; looking only: it is not a store.
    """

    def __init__(self, path: str | Path, *, writing: bool = True) -> None:
        self.path = Path(path).expanduser().resolve()
        self.notes: tuple[str, ...] = ()
        self._lock: SoleUse | None = None
        self._connection: sqlite3.Connection | None = None
        if self.path.exists() and not self.path.is_file():
            raise StoreError(f"{self.path} is not a file.", remedy=f"--store {self.path / 'trials.sqlite'}")
        try:
            if writing:
                self._open_for_writing()
            elif self.path.exists():
                self._open_for_reading()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        if self._connection is None:
            return 0
        with self._reading():
            return int(self._connection.execute("SELECT count(*) FROM trials").fetchone()[0])

    def __contains__(self, trial: Trial) -> bool:
        return trial.key in self.seconds([trial])

    def get(self, trial: Trial) -> Result | None:
        """The result that is kept for a trial, or ``None``.

        Raises:
            StoreError: it cannot be read, or has other bits than when it was kept.
        """
        if self._connection is None:
            return None
        with self._reading():
            row = self._connection.execute(f"SELECT {COLUMNS} FROM trials WHERE key = ?", (trial.key,)).fetchone()
        if row is None:
            return None
        found = dict(zip(COLUMNS.split(", "), row, strict=True))
        numbers, arrays, description = found.pop("numbers"), found.pop("arrays"), found.pop("description")
        if description != trial.description or digest(numbers, arrays) != found["digest"]:
            raise StoreError(f"The result {trial.key[:8]} in {self.path} is damaged.", remedy=_NEXT_RUN)
        measured = decode_numbers(found.pop("measured"))
        return Result(**found, numbers=decode_numbers(numbers), arrays=decode_arrays(arrays), measured=measured)

    def put(self, trial: Trial, finished: Finished) -> None:
        """Keep a result. When this returns, it is on the disk. A result that is there already stays as it is.

        Raises:
            StoreError: it cannot be written, as on a full disk; what was kept before is still there.
        """
        if self._connection is None or self._lock is None:
            raise StoreError(f"{self.path} was opened to look only, or is closed.")
        bits = digest(finished.numbers, finished.arrays)
        blobs = (finished.numbers, finished.arrays, finished.measured)
        origin = (finished.engine, bits, finished.seconds, finished.version, finished.machine, finished.backend)
        row = (trial.key, trial.description, *blobs, *origin, finished.finished_at)
        with self._writing():
            self._connection.execute(f"INSERT OR IGNORE INTO trials ({COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)

    def seconds(self, trials: Iterable[Trial]) -> dict[str, float]:
        """How long each of these trials took, by key, for those that are there.

        Raises:
            StoreError: the file cannot be read.
        """
        if self._connection is None:
            return {}
        with self._reading():
            found = dict(self._connection.execute("SELECT key, seconds FROM trials"))
        return {trial.key: found[trial.key] for trial in trials if trial.key in found}

    def close(self) -> None:
        """Close the file and let others write. A second call does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _open_for_writing(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            remedy = "--store with a file in a folder of your own"
            raise StoreError(f"The folder {self.path.parent} cannot be made: {error.strerror}.", remedy=remedy) from error
        self._lock = SoleUse(self.path)
        self._connection, wrong = self._examined()
        if wrong:
            self._connection.close()
            aside = set_aside(self.path)
            self.notes = (f"{self.path} {wrong}. It was kept as {aside.name}, and a new store was begun.",)
            self._connection, _ = self._examined()
        with self._writing():
            self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.execute("PRAGMA synchronous = EXTRA")
            create(self._connection)

    def _open_for_reading(self) -> None:
        # Not mode=ro: what a killed process had half written is rolled back by whoever opens the file next.
        self._connection, wrong = self._examined()
        if wrong:
            raise StoreError(f"{self.path} {wrong}.", remedy=_NEXT_RUN)
        with self._reading():
            if is_empty(self._connection):  # another process has just made it
                self.close()

    def _examined(self) -> tuple[sqlite3.Connection, str]:
        """A connection to the file as it is, and what is wrong with it, as the rest of a sentence."""
        with self._reading():
            # Without an isolation level, each statement is a transaction of its own unless one is begun.
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            return connection, what_is_wrong(connection)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            cause = "it is damaged, or may not be read by this user"
            raise StoreError(f"{self.path} cannot be read: {error}.", cause=cause, remedy=_NEXT_RUN) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            free = shutil.disk_usage(self.path.parent).free / 2**20
            raise StoreError(
                f"{self.path} cannot be written to: {error} ({free:,.0f} MiB are free). What was kept before is still there.",
                cause="the disk is full, a limit on the size of files was reached, or the file is another user's",
                remedy="make room, and run the same command again: it goes on where it stopped",
            ) from error
