"""``epochwise report``: draw a saved result again, in the terminal, as a page, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from epochwise.cli.options import Force, ReportFile, check_apart, check_outputs, show, write_output

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
    check_outputs(force, page_file)
    if picture:
        from epochwise.reporting.pictures import check_picture

        check_picture(picture, force)
    check_apart(result, page_file, picture)
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


def _drawn(record: AnyRecord) -> RenderableType:
    """What the terminal shows of it."""
    from epochwise.counting.counts import Counts
    from epochwise.counting.side_by_side import SideBySide
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
    if isinstance(record, SideBySide):
        from epochwise.reporting import side_by_side

        return side_by_side.render(record)
    from epochwise.reporting import machine

    return machine.view(record)
