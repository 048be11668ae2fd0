"""``epochwise demo``: the question, answered on this machine."""

from __future__ import annotations

import typer

from epochwise.cli.compare import INTERRUPTED
from epochwise.cli.options import (
    Backend,
    DataDir,
    Force,
    JsonFile,
    Progress,
    ReportFile,
    Seconds,
    Seed,
    check_output,
    show,
    write_output,
)


def demo(
    data_dir: DataDir = None,
    backend: Backend = None,
    seconds: Seconds = 45.0,
    seed: Seed = 0,
    json: JsonFile = "result.json",
    report: ReportFile = "report.html",
    force: Force = False,
) -> None:
    """The question, answered here: both models, the real Fashion-MNIST, every installed backend."""
    for path in (json, report):
        if path:
            check_output(path, force)
    from epochwise.explaining.demo import run_demo

    def say(text: object) -> None:
        if json != "-":
            show(text)

    with Progress() as progress:
        result = run_demo(backend=backend, seconds=seconds, seed=seed, data_dir=data_dir, progress=progress)
    from epochwise.reporting.demo import render

    say(render(result))
    if json:
        write_output(json, result.to_json(), force)
    if report:
        from epochwise.reporting.html import page

        write_output(report, page(result), force)
    if any(comparison.measurement.interrupted for comparison in result.comparisons):
        raise typer.Exit(INTERRUPTED)
