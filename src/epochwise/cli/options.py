"""Options that verbs share, and what turns their text into values. Imports nothing heavy: it is loaded for ``--help``."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from epochwise.cli.progress import Progress
from epochwise.errors import UsageError
from epochwise.files import check_output, write_text

__all__ = [
    "Backend",
    "BatchSize",
    "Classes",
    "Data",
    "DataDir",
    "Force",
    "InputShape",
    "JsonFile",
    "Progress",
    "ReportFile",
    "Seconds",
    "Seed",
    "check_apart",
    "check_outputs",
    "parse_memory",
    "parse_names",
    "parse_shape",
    "show",
    "write_output",
    "write_text",
]

MOST_COLUMNS = 100
_MEMORY_UNITS = {"": 1, "b": 1} | {
    f"{letter}{unit}": base**power
    for power, letter in enumerate("kmgtp", start=1)
    for unit, base in (("ib", 1024), ("i", 1024), ("b", 1000), ("", 1000))
}

Data = Annotated[str, typer.Option("--data", help="fashion-mnist, random, a .npz file, or module:function.", metavar="DATA")]
DataDir = Annotated[str | None, typer.Option("--data-dir", help="Folder with the Fashion-MNIST files.", metavar="FOLDER")]
InputShape = Annotated[
    str | None, typer.Option("--input-shape", help="Shape of one random sample, as 28,28,1.", metavar="SIZES")
]
Classes = Annotated[int | None, typer.Option("--classes", help="Number of classes of random data.", min=1, metavar="N")]
Backend = Annotated[
    str | None,
    typer.Option("--backend", help="Keras backend: tensorflow, jax or torch; compare takes two with a comma.", metavar="NAME"),
]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Samples per training step.", min=1, metavar="N")]
Seconds = Annotated[float, typer.Option("--seconds", help="Time to measure for, in all.", metavar="S")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.", min=0, metavar="N")]
JsonFile = Annotated[
    str | None, typer.Option("--json", help="Write the result as JSON to a file; - is standard output.", metavar="FILE|-")
]
ReportFile = Annotated[str | None, typer.Option("--report", help="Write a report that opens offline.", metavar="FILE.html")]
Force = Annotated[bool, typer.Option("--force", help="Replace output files that exist.")]


def parse_shape(text: str) -> tuple[int, ...]:
    """The shape that ``--input-shape`` names: ``28,28,1`` (or ``28x28x1``) is ``(28, 28, 1)``.

    Raises:
        UsageError: not whole numbers of at least 1 with commas between.
    """
    sizes = re.split(r"\s*[,x]\s*", text.strip().strip("()").rstrip(","))
    if not all(re.fullmatch(r"[1-9][0-9]{0,8}", size) for size in sizes):
        raise UsageError(
            f"--input-shape {text!r} is not a shape.",
            cause="sizes are whole numbers of at least 1, with commas and no spaces between; the batch is not among them",
            remedy="--input-shape 28,28,1",
        )
    return tuple(int(size) for size in sizes)


def parse_memory(text: str) -> int:
    """Bytes that ``--memory`` names: ``8GiB`` is 8 x 2^30, ``8GB`` is 8 x 10^9, ``1.5 GiB`` as well; a bare number is bytes.

    Raises:
        UsageError: no positive size, or a unit that is none.
    """
    from fractions import Fraction

    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    factor = _MEMORY_UNITS.get(found[2].lower()) if found else None
    size = 0 if found is None or factor is None else int(Fraction(found[1]) * factor)
    if size < 1:
        raise UsageError(
            f"--memory {text!r} is not a size of memory.",
            cause="a number and a unit: KiB, MiB, GiB, TiB (powers of 1,024) or kB, MB, GB, TB (powers of 1,000)",
            remedy="--memory 8GiB",
        )
    return size


def parse_names(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names that an option lists, with commas between; ``_`` does for ``-``.

    Raises:
        UsageError: one of them is not known, or there is none.
    """
    from difflib import get_close_matches

    names = tuple(name.strip().lower().replace("_", "-") for name in text.split(","))
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise UsageError(
                f"{option} {text!r}: there is no {name!r}. There are {', '.join(known)}.",
                cause=f"Did you mean {near[0]}?" if near else "",
                remedy=f"{option} {near[0] if near else known[0]}",
            )
    return names


def check_outputs(force: bool, *paths: str | None) -> None:
    """Look, before any work is done, whether all output files can be written, and whether each has a place of its own.

    Raises:
        OutputExistsError, UsageError: see :func:`epochwise.files.check_output` and :func:`check_apart`.
    """
    if sum(path == "-" for path in paths) > 1:
        raise UsageError(
            "Two outputs cannot both go to standard output.",
            cause="- is given to two options",
            remedy="- for one of them, and the name of a file for the other",
        )
    check_apart(*paths)
    for path in paths:
        if path:
            check_output(path, force)


def check_apart(*names: str | None) -> None:
    """Refuse a file that is named twice: what was read would be lost, or one output overwrite the other.

    Raises:
        UsageError: two of the names are of one file.
    """
    files = [Path(name).resolve() for name in names if name and name != "-"]
    for place, file in enumerate(files):
        if file in files[:place] and (file.is_file() or not file.exists()):
            raise UsageError(f"{file.name} is named twice.", cause="each output needs a file of its own", remedy="another name")


def write_output(path: str, text: str, force: bool = False) -> None:
    """Write a result to a file, whole or not at all, or to standard output where ``path`` is ``-``.

    Raises:
        OutputExistsError, UsageError: see :func:`epochwise.files.write_text`.
    """
    if path == "-":
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
    else:
        write_text(path, text, force)


def show(renderable: object) -> None:
    """Print what a report draws to standard output: 80 columns, or the terminal's width up to 100."""
    from rich.console import Console

    console = Console(highlight=False)
    console.width = min(console.width, MOST_COLUMNS)
    console.print(renderable)
