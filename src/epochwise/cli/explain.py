"""``epochwise explain``: where this model's epoch goes, and what it could be."""

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
    from epochwise.explaining.explanation import Explanation


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="file.py:function, package.module:function or a .keras file.")],
    data: Data = "fashion-mnist",
    data_dir: DataDir = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    backend: Backend = None,
    batch_size: BatchSize = 32,
    seconds: Seconds = 30.0,
    seed: Seed = 0,
    json: JsonFile = None,
    report: ReportFile = None,
    force: Force = False,
) -> None:
    """Where an epoch of this model goes, layer by layer, why, and what it could be: measured and explained."""
    check_outputs(force, json, report)
    from epochwise.errors import WorkerDiedError
    from epochwise.explaining.explain import explain_kept, explain_named
    from epochwise.explaining.loads import loads_for
    from epochwise.subjects.datasets import DataSpec

    where = DataSpec(data, parse_shape(input_shape) if input_shape else None, classes, data_dir=data_dir, seed=seed)
    (load,) = loads_for((model,), where, backend=backend, batch_size=batch_size, seed=seed)

    def deliver(result: Explanation) -> None:
        if json != "-":
            from epochwise.reporting.explanation import render

            show(render(result))
        if json:
            write_output(json, result.to_json(), force)
        if report:
            from epochwise.reporting.html import page

            write_output(report, page(result), force)

    try:
        with Progress() as progress:
            result = explain_named(load, seconds, progress)
    except WorkerDiedError as error:
        kept = explain_kept(error)
        if kept is not None:
            deliver(kept)
        raise
    deliver(result)
    if result.measurement.interrupted:
        raise KeyboardInterrupt  # what was measured is delivered; the exit code still tells
