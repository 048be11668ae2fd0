"""A lock that a forked process does not find held by a thread that it does not have."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType


class Lock:
    """Like ``threading.Lock``, in a ``with`` statement; open in a process that was just forked, whoever held it before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _ALL.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.Lock()


_ALL: weakref.WeakSet[Lock] = weakref.WeakSet()


def _renew() -> None:
    for lock in _ALL:
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
