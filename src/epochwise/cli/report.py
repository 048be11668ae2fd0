"""``epochwise report``: draw a saved result again, in the terminal, as a page, as a picture."""

from __future__ import annotations

from typing import Annotated

import typer

from epochwise.cli.options import Force, ReportFile, check_apart, check_outputs, show, write_output


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
        from epochwise.reporting.drawing import drawn

        show(drawn(record))
    if page_file:
        from epochwise.reporting.html import page

        write_output(page_file, page(record), force)
    if picture:
        from epochwise.reporting.pictures import save_picture

        save_picture(record, picture, force)
