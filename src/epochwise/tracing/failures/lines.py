"""The line of the user's program that an exception came from: the innermost that is neither a framework's nor ours."""

from __future__ import annotations

import importlib.util
import linecache
import traceback
from pathlib import Path
from types import FrameType

_OURS = str(Path(__file__).parents[2])
_FRAMEWORKS = tuple(
    str(Path(spec.origin).parent)
    for name in ("torch", "keras", "jax", "tensorflow", "numpy")
    if (spec := importlib.util.find_spec(name)) and spec.origin
)
_NOT_WRITTEN = ("contextlib", "__autograph_generated_file")
"""Parts of the names of files that no user wrote."""


def line_of(error: BaseException) -> str | None:
    """Where an exception came from, ``net.py, line 12: `if x.sum() > 0:```; ``None`` if no line of the user's is on its way."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        found = written(frame, line)
        if found is not None:
            return found
    return None


def written(frame: FrameType, line: int) -> str | None:
    """The line of a frame with its text, ``None`` if it is a framework's or ours."""
    name = frame.f_code.co_filename
    if name.startswith((_OURS, *_FRAMEWORKS, "<frozen")) or any(part in name for part in _NOT_WRITTEN):
        return None
    text = linecache.getline(name, line).strip()
    return f"{name}, line {line}" + (f": `{text}`" if text else "")
