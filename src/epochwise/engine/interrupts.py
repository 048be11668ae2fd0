"""Ctrl-C during a stretch of steps waits until the stretch is over, so that weights are those of a finished step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


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
