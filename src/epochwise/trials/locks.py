"""One process at a time at one store: a file beside it, locked by the operating system.

The lock is gone when its process is, however that ended. The file stays behind after a kill and says nothing then.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from epochwise.errors import StoreError

PATIENCE_SECONDS = 3.0
"""A process that was just interrupted may still be on its way out."""

_RETRY_SECONDS = 0.1
_HELD = (errno.EAGAIN, errno.EACCES)


class SoleUse:
    """The right to write to a store, until :meth:`release`.

    Args:
        store: the store's file; the lock is ``<name>.lock`` beside it.

    Raises:
        StoreError: another process has it, or no lock can be had here.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store.with_name(f"{store.name}.lock")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (descriptor := self._attempt()) is None:
            if time.monotonic() > deadline:
                raise self._taken()
            time.sleep(_RETRY_SECONDS)
        self._descriptor: int | None = descriptor
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let others in. A second call does nothing."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _attempt(self) -> int | None:
        """The locked file's descriptor; ``None`` if somebody else has the lock."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == self._path.stat().st_ino:
                return descriptor
        except FileNotFoundError:
            pass  # its last owner removed it between the two lines above: what is locked now is nobody's
        except OSError as error:
            if error.errno not in _HELD:
                os.close(descriptor)
                raise self._unwritable(error) from error
        os.close(descriptor)
        return None

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"Results cannot be kept in {self._store}: {error.strerror}.",
            cause="a folder of somebody else's, or a file system without locks",
            remedy="--store with a file in a folder of your own",
        )

    def _taken(self) -> StoreError:
        try:
            number = int(self._path.read_text())
        except (OSError, ValueError):
            number = 0
        who = f" (number {number})" if number else ""
        return StoreError(
            f"Another process{who} is adding results to {self._store}; nothing was started here.",
            cause="the same command is running elsewhere",
            remedy="wait until it is done, or name another file with --store; --status shows how far it is",
        )
