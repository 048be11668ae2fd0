"""``epochwise count``: what a training step costs, layer by layer; nothing is run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

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
    check_outputs,
    parse_memory,
    parse_names,
    parse_shape,
    show,
    write_output,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from epochwise.counting.counts import Counts, LargestBatch
    from epochwise.reporting.layers import View
    from epochwise.subjects.loading import Subject
    from epochwise.subjects.models import ModelSpec

Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        help="Figures in the table of layers, with commas between: parameters, reuse, macs, weight-gradient-macs,"
        " input-gradient-macs, training-macs, activations, flops, training-flops, other-flops, forward-bytes,"
        " backward-bytes, update-bytes, bytes, calls.",
        metavar="NAMES",
    ),
]
Sort = Annotated[
    str | None,
    typer.Option("--sort", help="Order of the layers: name, or a column, largest first; else as executed.", metavar="NAME"),
]
Depth = Annotated[
    int | None,
    typer.Option("--depth", help="Levels of nested models to show; deeper ones are added up.", min=1, metavar="N"),
]

_STEPS = 3
"""Of the progress of one model: loading, counting, the largest batch."""


class _Request(NamedTuple):
    """What is wanted of each model."""

    data: str | None
    data_dir: str | None
    shape: tuple[int, ...] | None
    classes: int | None
    backend: str
    batch_size: int
    seed: int
    optimizer: str | None
    memory: int | None


def count(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="file.py:function, package.module:function or a .keras file; two or more are put side by side.",
        ),
    ],
    data: Annotated[
        str | None, typer.Option("--data", help="Data that the model is for; by default what it says itself.", metavar="DATA")
    ] = None,
    data_dir: DataDir = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    backend: Backend = None,
    batch_size: BatchSize = 32,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer",
            help="Instead of the model's own: sgd, momentum, adam, adamw, adafactor, lion, or another of the framework.",
            metavar="NAME",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", help="Find the largest batch that fits into this much memory, as 8GiB.", metavar="SIZE"),
    ] = None,
    columns: Columns = None,
    sort: Sort = None,
    depth: Depth = None,
    seed: Seed = 0,
    json: JsonFile = None,
    csv: Annotated[
        str | None,
        typer.Option(
            "--csv", help="Write every layer with every figure as CSV to a file; - is standard output.", metavar="FILE|-"
        ),
    ] = None,
    report: ReportFile = None,
    force: Force = False,
) -> None:
    """What a training step costs, layer by layer: parameters, MACs, FLOPs, bytes, memory. Nothing is run."""
    check_outputs(force, json, csv, report)
    memory_bytes = parse_memory(memory) if memory else None
    shape = parse_shape(input_shape) if input_shape else None
    view = layer_view(columns, sort, depth)
    from epochwise.subjects.backends import choose_backend
    from epochwise.subjects.models import parse_model

    specs = [parse_model(model) for model in models]
    wanted = _Request(data, data_dir, shape, classes, choose_backend(backend), batch_size, seed, optimizer, memory_bytes)
    with Progress() as progress:

        def told(place: int, done: float, text: str) -> None:
            progress(_STEPS * place + done, _STEPS * len(specs), text)

        names = _names(specs)
        counted = [_counted(spec, names[place], wanted, partial(told, place)) for place, spec in enumerate(specs)]
    _deliver(counted, view, json=json, csv=csv, report=report, force=force)


def layer_view(columns: str | None, sort: str | None, depth: int | None) -> View:
    """The options about the table of layers."""
    from epochwise.reporting.layers import BY_STEP, COLUMNS, ORDERS, USUAL, View

    shown = parse_names("--columns", columns, tuple(COLUMNS)) if columns else USUAL
    order = parse_names("--sort", sort, ORDERS)[0] if sort else BY_STEP
    return View(shown, order, depth)


def _names(specs: list[ModelSpec]) -> list[str]:
    """What the models are called: by their functions; where two have the same, as they were written, numbered if need be."""
    short = [spec.name for spec in specs]
    names = [spec.text if short.count(spec.name) > 1 else spec.name for spec in specs]
    return [f"{name} ({names[: at + 1].count(name)})" if names.count(name) > 1 else name for at, name in enumerate(names)]


def _counted(spec: ModelSpec, name: str, wanted: _Request, progress: Callable[[float, str], None]) -> Counts:
    """Load one model and count it; its layers have the names that they have when it is counted alone."""
    from epochwise.counting import count as count_model
    from epochwise.subjects.loading import start_anew, with_optimizer

    progress(0, f"loading {name}")
    start_anew()
    subject = _load(spec, wanted)
    if wanted.optimizer:
        subject = with_optimizer(subject, wanted.optimizer)
    progress(1, f"tracing a training step of {name} on {subject.backend}")
    counts = count_model(
        subject.model,
        wanted.batch_size,
        subject.x,
        subject.y,
        name,
        loss=subject.loss,
        optimizer=subject.optimizer,
    )
    if wanted.memory is None:
        return counts
    from msgspec.structs import replace

    from epochwise.errors import ModelDoesNotFitError, ModelFailedError, TracingError

    tried = [counts.batch_size]
    try:
        return replace(counts, largest_batch=_largest_batch(subject, counts, wanted.memory, progress, tried))
    except (ModelDoesNotFitError, ModelFailedError, TracingError) as error:
        reason = error.what.splitlines()[0]
        note = f"The largest batch was not found, because the model takes no batch of {tried[-1]:,}: {reason}"
        return replace(counts, notes=(*counts.notes, note))


def _largest_batch(
    subject: Subject, counts: Counts, memory: int, progress: Callable[[float, str], None], tried: list[int]
) -> LargestBatch:
    """The answer to ``--memory``: steps of other batch sizes, which are put into ``tried``, are traced until it is found."""
    from epochwise.counting import largest_batch, peak_bytes

    def peak_at(batch_size: int) -> int:
        if batch_size == counts.batch_size:
            return counts.memory_bytes.peak
        tried.append(batch_size)
        progress(2, f"tracing a step of {subject.name} with a batch of {batch_size:,}")
        return peak_bytes(subject.model, batch_size, subject.x, subject.y, loss=subject.loss, optimizer=subject.optimizer)

    return largest_batch(peak_at, memory, counts.batch_size)


def _load(spec: ModelSpec, wanted: _Request) -> Subject:
    """The model alone, or on data that was asked for; shapes alone mean random data, one batch of it."""
    from epochwise.subjects.loading import load_alone, load_subject

    if wanted.data is None and wanted.classes is None:
        shape = wanted.shape
        return load_alone(spec, backend=wanted.backend, batch_size=wanted.batch_size, seed=wanted.seed, sample=shape)
    from epochwise.subjects.datasets import DataSpec, load_data

    named = DataSpec(
        wanted.data or "random",
        wanted.shape,
        wanted.classes,
        samples=wanted.batch_size,
        data_dir=wanted.data_dir,
        seed=wanted.seed,
    )
    data = load_data(named, wanted.backend)
    return load_subject(spec, data, backend=wanted.backend, batch_size=wanted.batch_size, seed=wanted.seed)


def _deliver(counted: list[Counts], view: View, *, json: str | None, csv: str | None, report: str | None, force: bool) -> None:
    """One record for one model, and one for several; in every form that was asked for."""
    from epochwise.counting.side_by_side import side_by_side

    record = counted[0] if len(counted) == 1 else side_by_side(counted)
    if "-" not in (json, csv, report):
        from epochwise.reporting.counts import render
        from epochwise.reporting.side_by_side import render as render_several

        show(render(counted[0], view) if len(counted) == 1 else render_several(side_by_side(counted), view))
    if json:
        write_output(json, record.to_json(), force)
    if csv:
        from epochwise.reporting.layers import csv_text

        write_output(csv, csv_text(counted), force)
    if report:
        from epochwise.reporting.html import page

        write_output(report, page(record), force)
