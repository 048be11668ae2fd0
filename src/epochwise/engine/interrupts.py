"""Ctrl-C during a stretch of steps waits until the stretch is over, so that weights are those of a finished step.

In the main thread that is done by a handler of the signal (:class:`Interrupts`). Other threads get no signals: they are told by
whoever started them (:class:`Stopping`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import Any, Protocol


class Holding(Protocol):
    """What can hold back an interruption."""

    def held(self) -> AbstractContextManager[None]:
        """Nothing in here is cut short; an interruption that came meanwhile takes effect at the end."""
        ...

    def check(self) -> None:
        """Let an interruption that was held back take effect."""
        ...


class StoppedError(BaseException):
    """A thread was told to stop. Like ``KeyboardInterrupt``, it passes by handlers of ordinary errors."""


class Stopping:
    """For a thread that trains while another one waits.

    Args:
        told: is set when the thread is to stop.
    """

    def __init__(self, told: threading.Event) -> None:
        self._told = told
        self._stopped = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing in here is cut short.

        Raises:
            StoppedError: at the end, if the thread was told to stop; once, so that what is then cleaned up is not cut short.
        """
        yield
        self.check()

    def check(self) -> None:
        """Stop if told to, once.

        Raises:
            StoppedError: the thread was told to stop.
        """
        if self._told.is_set() and not self._stopped:
            self._stopped = True
            raise StoppedError


class Interrupts:
    """A context in which Ctrl-C can be held back: see :meth:`held`. In threads other than the main one it does nothing."""

    def __init__(self) -> None:
        self._before: Any = None
        self._holding = False
        self._pending: tuple[int, FrameType | None] | None = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing in here is cut short; a Ctrl-C that came meanwhile takes effect at the end.

        Raises:
            KeyboardInterrupt: at the end, or whatever else the handler does that was there before.
        """
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        self.check()

    def check(self) -> None:
        """Let a Ctrl-C that was held back take effect."""
        if self._pending is not None:
            (number, frame), self._pending = self._pending, None
            self._before(number, frame)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._holding:
            self._pending = (number, frame)
        else:
            self._before(number, frame)
