"""``epochwise explain``: where this model's epoch goes, and what it could be."""

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
    from epochwise.explaining.explain import explain_kept, explain_named
    from epochwise.explaining.loads import loads_for
    from epochwise.subjects.datasets import DataSpec

    where = DataSpec(data, parse_shape(input_shape) if input_shape else None, classes, data_dir=data_dir, seed=seed)
    (load,) = loads_for((model,), where, backend=backend, batch_size=batch_size, seed=seed)

    deliver_measured(lambda progress: explain_named(load, seconds, progress), explain_kept, json, report, force)
