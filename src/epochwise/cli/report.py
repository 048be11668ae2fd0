"""``epochwise report``: draw a saved result again, in the terminal, as a page, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epochwise.cli.options import Force, ReportFile, check_output, show, write_output
from epochwise.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from epochwise.reporting.records import AnyRecord


def report(
    result: Annotated[str, typer.Argument(metavar="RESULT.json", help="A file that --json wrote.")],
    page_file: ReportFile = None,
    picture: Annotated[
        str | None,
        typer.Option("--picture", help="Write the picture of the factors.", metavar="FILE.svg|png"),
    ] = None,
    force: Force = False,
) -> None:
    """Draw a saved result again; nothing is measured."""
    if page_file:
        check_output(page_file, force)
    if picture:
        from epochwise.reporting.pictures import check_picture

        check_picture(picture, force)
    _check_apart(result, page_file, picture)
    from epochwise.reporting.records import load

    record = load(result)
    if page_file != "-":
        show(_drawn(record))
    if page_file:
        from epochwise.reporting.html import page

        write_output(page_file, page(record), force)
    if picture:
        from epochwise.reporting.pictures import save_picture

        save_picture(record, picture, force)


def _check_apart(*names: str | None) -> None:
    """The result would be lost, or one output overwrite the other."""
    files = [Path(name).resolve() for name in names if name and name != "-"]
    for place, file in enumerate(files):
        if file in files[:place]:
            raise UsageError(f"{file.name} is named twice.", remedy="--report report.html --picture answer.svg")


def _drawn(record: AnyRecord) -> RenderableType:
    """What the terminal shows of it."""
    from epochwise.counting.counts import Counts
    from epochwise.explaining.explanation import Comparison, Demo, Explanation

    if isinstance(record, Explanation):
        from epochwise.reporting import explanation

        return explanation.render(record)
    if isinstance(record, Comparison):
        from epochwise.reporting import comparison

        return comparison.render(record)
    if isinstance(record, Demo):
        from epochwise.reporting import demo

        return demo.render(record)
    if isinstance(record, Counts):
        from epochwise.reporting import counts

        return counts.render(record)
    from epochwise.reporting import machine

    return machine.view(record)
