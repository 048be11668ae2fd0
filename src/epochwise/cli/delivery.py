"""Getting a result to the user: on the terminal, as JSON, as a page; also what was measured before a worker died."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from epochwise.cli.options import Progress, show, write_output

if TYPE_CHECKING:
    from epochwise.errors import WorkerDiedError
    from epochwise.explaining.explanation import Comparison, Explanation
    from epochwise.reporting.records import AnyRecord

Measured = TypeVar("Measured", "Comparison", "Explanation")


def deliver(record: AnyRecord, json: str | None, report: str | None, force: bool) -> None:
    """Show a result, and write it to the files that were asked for; JSON on standard output stands there alone."""
    if json != "-":
        from epochwise.reporting.drawing import drawn

        show(drawn(record))
    if json:
        write_output(json, record.to_json(), force)
    if report:
        from epochwise.reporting.html import page

        with Progress() as progress:
            progress(0, 1, "drawing the page")
            drawn_page = page(record)
        write_output(report, drawn_page, force)


def deliver_measured(
    measure: Callable[[Progress], Measured],
    kept: Callable[[WorkerDiedError], Measured | None],
    json: str | None,
    report: str | None,
    force: bool,
) -> None:
    """Measure and deliver; where a worker dies or the user stops it, what was measured until then.

    Args:
        measure: makes the result, and is given the progress to tell.
        kept: the result of what was measured before a worker died, if that was enough.
        json: file for the JSON.
        report: file for the page.
        force: whether files may be replaced.

    Raises:
        WorkerDiedError: a worker ended; what was kept is delivered.
        KeyboardInterrupt: the user stopped it; what was measured is delivered, and the exit code still tells.
    """
    from epochwise.errors import WorkerDiedError

    try:
        with Progress() as progress:
            result = measure(progress)
    except WorkerDiedError as error:
        found = kept(error)
        if found is not None:
            deliver(found, json, report, force)
        raise
    deliver(result, json, report, force)
    if result.measurement.interrupted:
        raise KeyboardInterrupt
