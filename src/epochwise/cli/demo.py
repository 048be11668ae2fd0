"""``epochwise demo``: the question, answered on this machine."""

from __future__ import annotations

from epochwise.cli.delivery import deliver
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
    deliver(result, json, report, force)
    if json != "-":
        from epochwise.experiments.kept import kept
        from epochwise.reporting.evidence import kept_view

        show("")
        show(kept_view(kept()))
    if any(comparison.measurement.interrupted for comparison in result.comparisons):
        raise KeyboardInterrupt  # what was measured is delivered; the exit code still tells
