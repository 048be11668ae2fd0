"""Kept copies of what the terminal shows. `EPOCHWISE_KEEP=1 pytest tests/reporting` writes them anew; read the difference."""

from __future__ import annotations

import io
import os
from pathlib import Path

from rich.console import Console

KEPT = Path(__file__).parent / "kept"


def drawn(renderable, width=80, **options):
    """What a terminal of this width shows, without spaces at line ends."""
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, **options).print(renderable)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def assert_as_kept(name, text):
    """The text is the kept one."""
    path = KEPT / f"{name}.txt"
    if os.environ.get("EPOCHWISE_KEEP"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path} differs; EPOCHWISE_KEEP=1 writes it anew"
