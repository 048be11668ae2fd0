"""``epochwise report``: draw a saved result again, in the terminal, as a page, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from epochwise.cli.count import Columns, Depth, Sort, layer_view
from epochwise.cli.options import Force, ReportFile, check_apart, check_outputs, show, write_output

if TYPE_CHECKING:
    from epochwise.reporting.layers import View


def report(
    result: Annotated[str, typer.Argument(metavar="RESULT.json", help="A file that --json wrote.")],
    page_file: ReportFile = None,
    picture: Annotated[
        str | None,
        typer.Option("--picture", help="Write the picture of the factors.", metavar="FILE.svg|png"),
    ] = None,
    columns: Columns = None,
    sort: Sort = None,
    depth: Depth = None,
    force: Force = False,
) -> None:
    """Draw a saved result again; nothing is measured."""
    check_outputs(force, page_file)
    if picture:
        from epochwise.reporting.pictures import check_picture

        check_picture(picture, force)
    check_apart(result, page_file, picture)
    view = layer_view(columns, sort, depth) if columns or sort or depth else None
    from epochwise.reporting.records import load

    record = load(result)
    shown = None if view is None else _with_view(record, view, result)
    if page_file != "-":
        from epochwise.reporting.drawing import drawn

        show(drawn(record) if shown is None else shown)
    if page_file:
        from epochwise.reporting.html import page

        write_output(page_file, page(record), force)
    if picture:
        from epochwise.reporting.pictures import save_picture

        save_picture(record, picture, force)


def _with_view(record: Any, view: View, result: str) -> Any:
    """A count drawn with other columns, another order or another depth.

    Raises:
        UsageError: it is another kind of result.
    """
    from epochwise.counting.counts import Counts
    from epochwise.counting.side_by_side import SideBySide
    from epochwise.errors import UsageError
    from epochwise.reporting.counts import render
    from epochwise.reporting.side_by_side import render as render_several

    if isinstance(record, Counts):
        return render(record, view)
    if isinstance(record, SideBySide):
        return render_several(record, view)
    raise UsageError(
        f"{result} is no count, so it has no table of layers to pick columns of.",
        cause="--columns, --sort and --depth are about what epochwise count --json wrote",
        remedy=f"epochwise report {result}",
    )
