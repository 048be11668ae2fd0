"""Progress on standard error: a bar in a terminal, a plain line now and then elsewhere. Standard output stays data."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """A context manager that is called as ``progress(done, total, text)``.

    ``done`` of ``total`` may be in any unit. In a terminal the bar vanishes at the end; elsewhere (a file, a log) a line is
    written for the first call, then at most one every 5 seconds. What is said with :meth:`say` stays.
    """

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._last_line = -SECONDS_BETWEEN_LINES

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            console = Console(stderr=True, highlight=False)
            columns = (BarColumn(20), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
            text = TextColumn("{task.description}", markup=False)
            self._bar = Progress(*columns, text, console=console, transient=True)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: float, total: float, text: str) -> None:
        """Say how much is done, and what is being done now."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=total)
            self._bar.update(self._task, completed=done, total=total, description=text)
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            share = f"{done / total:4.0%}" if total > 0 else "    "
            print(f"{share}  {text}", file=sys.stderr, flush=True)  # noqa: T201

    def say(self, text: str) -> None:
        """Write a line that stays, above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
