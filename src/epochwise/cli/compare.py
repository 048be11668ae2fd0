"""``epochwise compare``: why the second model takes k times the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from epochwise.cli.options import (
    Backend,
    BatchSize,
    Classes,
    Data,
    DataDir,
    Force,
    InputShape,
    JsonFile,
    Progress,
    ReportFile,
    Seconds,
    Seed,
    check_outputs,
    parse_shape,
    show,
    write_output,
)

if TYPE_CHECKING:
    from epochwise.explaining.explanation import Comparison


def compare(
    first: Annotated[str, typer.Argument(metavar="MODEL", help="file.py:function, package.module:function or a .keras file.")],
    second: Annotated[str, typer.Argument(metavar="MODEL", help="The model that is compared with the first.")],
    data: Data = "fashion-mnist",
    data_dir: DataDir = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    backend: Backend = None,
    batch_size: BatchSize = 32,
    seconds: Seconds = 60.0,
    seed: Seed = 0,
    json: JsonFile = None,
    report: ReportFile = None,
    force: Force = False,
) -> None:
    """Why an epoch of the second model takes k times as long as one of the first: measured and explained."""
    check_outputs(force, json, report)
    from epochwise.errors import WorkerDiedError
    from epochwise.explaining.compare import compare_named, explain_kept
    from epochwise.explaining.loads import loads_for
    from epochwise.subjects.datasets import DataSpec

    where = DataSpec(data, parse_shape(input_shape) if input_shape else None, classes, data_dir=data_dir, seed=seed)
    loads = loads_for((first, second), where, backend=backend, batch_size=batch_size, seed=seed)

    def deliver(result: Comparison) -> None:
        if json != "-":
            from epochwise.reporting.comparison import render

            show(render(result))
        if json:
            write_output(json, result.to_json(), force)
        if report:
            from epochwise.reporting.html import page

            write_output(report, page(result), force)

    try:
        with Progress() as progress:
            result = compare_named(loads, seconds, progress)
    except WorkerDiedError as error:
        kept = explain_kept(error)
        if kept is not None:
            deliver(kept)
        raise
    deliver(result)
    if result.measurement.interrupted:
        raise KeyboardInterrupt  # what was measured is delivered; the exit code still tells
