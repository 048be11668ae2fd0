"""``epochwise count``: what a training step costs, layer by layer; nothing is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from epochwise.cli.options import (
    Backend,
    BatchSize,
    Classes,
    DataDir,
    Force,
    InputShape,
    JsonFile,
    Progress,
    ReportFile,
    Seed,
    check_output,
    parse_shape,
    show,
    write_output,
)

if TYPE_CHECKING:
    from epochwise.subjects.loading import Subject
    from epochwise.subjects.models import ModelSpec


def count(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="file.py:function, package.module:function or a .keras file.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Data that the model is for; by default what it says itself.", metavar="DATA")
    ] = None,
    data_dir: DataDir = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    backend: Backend = None,
    batch_size: BatchSize = 32,
    seed: Seed = 0,
    json: JsonFile = None,
    report: ReportFile = None,
    force: Force = False,
) -> None:
    """What a training step costs, layer by layer: parameters, MACs, FLOPs, bytes, memory. Nothing is run."""
    for path in (json, report):
        if path:
            check_output(path, force)
    from epochwise.subjects.backends import choose_backend
    from epochwise.subjects.models import parse_model

    spec = parse_model(model)
    chosen = choose_backend(backend)
    shape = parse_shape(input_shape) if input_shape else None
    with Progress() as progress:
        progress(0, 3, f"loading {spec.name}")
        if data is None and shape is None and classes is None:
            from epochwise.subjects.loading import load_alone

            subject = load_alone(spec, backend=chosen, batch_size=batch_size, seed=seed)
        else:
            subject = _with_data(spec, data, shape, classes, data_dir, chosen, batch_size, seed)
        progress(1, 3, f"tracing a training step of {subject.name} on {subject.backend}")
        from epochwise.counting import count as counted

        counts = counted(
            subject.model,
            batch_size,
            subject.x,
            subject.y,
            subject.name,
            loss=subject.loss,
            optimizer=subject.optimizer,
        )
    if json != "-":
        from epochwise.reporting.counts import render

        show(render(counts))
    if json:
        write_output(json, counts.to_json(), force)
    if report:
        from epochwise.reporting.html import page

        write_output(report, page(counts), force)


def _with_data(
    spec: ModelSpec,
    source: str | None,
    shape: tuple[int, ...] | None,
    classes: int | None,
    data_dir: str | None,
    backend: str,
    batch_size: int,
    seed: int,
) -> Subject:
    """The model on data that was asked for; shapes alone mean random data, one batch of it."""
    from epochwise.subjects.datasets import DataSpec, load_data
    from epochwise.subjects.loading import load_subject

    named = DataSpec(source or "random", shape, classes, samples=batch_size, data_dir=data_dir, seed=seed)
    return load_subject(spec, load_data(named, backend), backend=backend, batch_size=batch_size, seed=seed)
