"""What is changed for a probe, where that needs no framework: processors, and numbers that are too small."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def can_choose_processors() -> bool:
    """Whether this system lets a process choose the processors that it runs on."""
    return sys.platform == "linux"


@contextlib.contextmanager
def on_processors(count: int | None) -> Iterator[None]:
    """Run all threads of this process on so many processors while the context is open; ``None`` for no change."""
    if not count or not can_choose_processors():
        yield
        return
    usual = os.sched_getaffinity(0)
    _let_run_on(set(sorted(usual)[:count]))
    try:
        yield
    finally:
        _let_run_on(usual)


def _let_run_on(processors: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            os.sched_setaffinity(int(thread.name), processors)


def without_denormals(values: Any) -> Any:
    """The array with zeros in the place of numbers too small to be normal."""
    if values.dtype.kind != "f":
        return values
    return np.where(np.abs(values) < np.finfo(values.dtype).tiny, np.zeros((), values.dtype), values)
