"""``epochwise demo``: the question, answered on this machine."""

from __future__ import annotations

from epochwise.cli.options import (
    Backend,
    DataDir,
    Force,
    JsonFile,
    Progress,
    ReportFile,
    Seconds,
    Seed,
    check_outputs,
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
    check_outputs(force, json, report)
    from epochwise.explaining.demo import run_demo

    with Progress() as progress:
        result = run_demo(backend=backend, seconds=seconds, seed=seed, data_dir=data_dir, progress=progress)
    if json != "-":
        from epochwise.reporting.demo import render

        show(render(result))
    if json:
        write_output(json, result.to_json(), force)
    if report:
        from epochwise.reporting.html import page

        write_output(report, page(result), force)
    if any(comparison.measurement.interrupted for comparison in result.comparisons):
        raise KeyboardInterrupt  # what was measured is delivered; the exit code still tells
