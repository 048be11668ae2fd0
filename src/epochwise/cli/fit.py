"""``epochwise fit``: train a model with the engine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from epochwise.cli.delivery import deliver
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
    Seed,
    check_outputs,
    parse_shape,
)


def fit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="file.py:function, package.module:function or a .keras file.")],
    data: Data = "fashion-mnist",
    data_dir: DataDir = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    backend: Backend = None,
    batch_size: BatchSize = 32,
    epochs: Annotated[int, typer.Option("--epochs", help="How many times to go over the data.", min=1, metavar="N")] = 5,
    threads: Annotated[
        int | None, typer.Option("--threads", help="How many to use at most; all cores by default.", min=1, metavar="N")
    ] = None,
    validation_split: Annotated[
        float, typer.Option("--validation-split", help="Share of the samples held back to validate with.", metavar="SHARE")
    ] = 0.0,
    shuffle: Annotated[bool, typer.Option("--shuffle/--no-shuffle", help="A new order of the samples in each epoch.")] = True,
    fallback: Annotated[bool, typer.Option("--fallback", help="Train with Keras what the engine does not cover.")] = False,
    save: Annotated[
        str | None, typer.Option("--save", help="Save the trained model, with its optimizer.", metavar="FILE.keras")
    ] = None,
    seed: Seed = 0,
    json: JsonFile = None,
    report: ReportFile = None,
    force: Force = False,
) -> None:
    """Train this model with the engine: the same arithmetic as Keras, without its waiting."""
    _check_save(save)
    check_outputs(force, json, report, save)
    from epochwise.engine.named import fit_named
    from epochwise.subjects.datasets import DataSpec

    where = DataSpec(data, parse_shape(input_shape) if input_shape else None, classes, data_dir=data_dir, seed=seed)
    try:
        with Progress() as progress:
            record = fit_named(
                model,
                where,
                backend=backend,
                batch_size=batch_size,
                epochs=epochs,
                threads=threads,
                validation_split=validation_split,
                shuffle=shuffle,
                fallback=fallback,
                save=save,
                seed=seed,
                progress=progress,
            )
    except KeyboardInterrupt as pressed:
        for line in pressed.args:
            sys.stderr.write(f"{line}\n")
        raise
    deliver(record, json, report, force)


def _check_save(save: str | None) -> None:
    """Refuse a name that Keras would refuse after training.

    Raises:
        UsageError: it does not end in ``.keras``.
    """
    if save is not None and not save.endswith(".keras"):
        from epochwise.errors import UsageError

        raise UsageError(
            f"--save {save}: the name of a model's file ends in .keras.",
            cause="that is how Keras tells its format",
            remedy="--save model.keras",
        )
