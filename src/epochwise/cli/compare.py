"""``epochwise compare``: why the second model takes k times the first."""

from __future__ import annotations

from typing import Annotated

import typer

from epochwise.cli.delivery import deliver_measured
from epochwise.cli.options import (
    Backend,
    BatchSize,
    Classes,
    Data,
    DataDir,
    Force,
    InputShape,
    JsonFile,
    ReportFile,
    Seconds,
    Seed,
    check_outputs,
    parse_shape,
)


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
    from epochwise.explaining.compare import compare_named, explain_kept
    from epochwise.explaining.loads import loads_for
    from epochwise.subjects.datasets import DataSpec

    where = DataSpec(data, parse_shape(input_shape) if input_shape else None, classes, data_dir=data_dir, seed=seed)
    loads = loads_for((first, second), where, backend=backend, batch_size=batch_size, seed=seed)

    deliver_measured(lambda progress: compare_named(loads, seconds, progress), explain_kept, json, report, force)
