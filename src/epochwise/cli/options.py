"""Options that verbs share, and what turns their text into values. Imports nothing heavy: it is loaded for ``--help``."""

from __future__ import annotations

import re
import sys
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
    "check_output",
    "parse_shape",
    "show",
    "write_output",
    "write_text",
]

MOST_COLUMNS = 100

Data = Annotated[str, typer.Option("--data", help="fashion-mnist, random, a .npz file, or module:function.", metavar="DATA")]
DataDir = Annotated[str | None, typer.Option("--data-dir", help="Folder with the Fashion-MNIST files.", metavar="FOLDER")]
InputShape = Annotated[
    str | None, typer.Option("--input-shape", help="Shape of one random sample, as 28,28,1.", metavar="SIZES")
]
Classes = Annotated[int | None, typer.Option("--classes", help="Number of classes of random data.", min=1, metavar="N")]
Backend = Annotated[str | None, typer.Option("--backend", help="Keras backend: tensorflow, jax or torch.", metavar="NAME")]
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
