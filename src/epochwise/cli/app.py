"""The command ``epochwise``: its verbs, and the options before a verb. Verbs live in files of their own, named like them.

A verb's file imports nothing heavy at its top, and its function imports what it needs when it is called: that is what lets
``epochwise --help`` answer at once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Annotated

import typer

from epochwise.cli.failures import DEBUG_VARIABLE, told

VERBS = ("demo", "count", "explain", "compare", "evidence", "fit", "machine", "report")
"""In the order of ``--help``. Each is a function of that name in ``epochwise.cli.<name>``."""

app = typer.Typer(
    name="epochwise",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"epochwise {version('epochwise')}")
        raise typer.Exit


@app.callback()
def _shared(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback with every error.")] = False,
) -> None:
    """Why an epoch of training takes as long as it does, what that time buys, and how to get it back."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"  # in the environment, so that worker processes know as well


for _verb in VERBS:
    app.command(_verb)(told()(getattr(importlib.import_module(f"epochwise.cli.{_verb}"), _verb)))


def main() -> None:
    """The console script ``epochwise``; exit codes are those of :mod:`epochwise.cli.failures`."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal without Unicode shows question marks for a bar, which beats an error.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    with told():
        app(prog_name="epochwise")


if __name__ == "__main__":
    main()
