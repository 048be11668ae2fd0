"""``epochwise evidence``: what the extra time of the second model buys, measured by experiments."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epochwise.cli.delivery import deliver
from epochwise.cli.options import (
    Backend,
    DataDir,
    Force,
    JsonFile,
    Progress,
    ReportFile,
    Seed,
    check_outputs,
    parse_names,
    show,
)
from epochwise.errors import UsageError

if TYPE_CHECKING:
    from epochwise.experiments.request import Request

TIERS = ("smoke", "standard", "full")
EXAMPLE = "epochwise evidence P1 P6 models.py:dense models.py:convolutional"
_PAIR = 2


def evidence(
    asked: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[P0 .. P10] [MODEL MODEL]",
            help="Experiments, all of them by default; then two models, by default those of the question.",
            show_default=False,
        ),
    ] = None,
    tier: Annotated[
        str,
        typer.Option("--tier", help="smoke (minutes), standard (an hour or more) or full (days).", metavar="NAME"),
    ] = "smoke",
    data: Annotated[
        str, typer.Option("--data", help="Labelled images: fashion-mnist, a .npz file, or module:function.", metavar="DATA")
    ] = "fashion-mnist",
    data_dir: DataDir = None,
    backend: Backend = None,
    store: Annotated[
        str | None,
        typer.Option("--store", help="File that keeps every training; a second run goes on from there.", metavar="FILE"),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", help="Train on a Ray cluster: its address, or local for one on this machine.", metavar="ADDRESS"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Trainings at once; one per core by default.", min=1, metavar="N")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say how many trainings and about how long; train nothing.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how much of it is in the store; train nothing.")] = False,
    seed: Seed = 0,
    json: JsonFile = None,
    report: ReportFile = None,
    force: Force = False,
) -> None:
    """What the extra time of the second model buys: experiments with intervals, and verdicts."""
    experiments, models = _sorted_out(asked or [])
    (tier,) = parse_names("--tier", tier, TIERS)
    _check_outlook(plan, status, json, report)
    _check_where(cluster, workers)
    check_outputs(force, json, report)
    if data_dir is not None:
        # In the environment, so that the processes that train find them as well.
        os.environ["EPOCHWISE_DATA"] = str(Path(data_dir).expanduser().absolute())
    from epochwise.experiments.request import Request

    request = Request(
        models=models,
        experiments=experiments,
        tier=tier,
        data=data,
        backend=backend,
        store=store,
        cluster=cluster,
        workers=workers,
        seed=seed,
    )
    if plan or status:
        _show_outlook(request, status)
        return
    from epochwise.experiments.evidence import run

    try:
        with Progress() as progress:
            record = run(request, progress, progress.say)
    except KeyboardInterrupt:
        sys.stderr.write("What was trained is kept; the same command goes on from there.\n")
        raise
    deliver(record, json, report, force)


def _sorted_out(asked: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Experiments and models, told apart by their form: ``P6`` (or ``p6``, ``P1,P6``) is an experiment.

    Raises:
        UsageError: there is no such experiment; or one model, or more than two.
    """
    experiments: list[str] = []
    models: list[str] = []
    for text in asked:
        names = [name for name in text.upper().split(",") if name]
        if names and all(re.fullmatch(r"P-?[0-9]+", name) for name in names):
            experiments += names
        else:
            models.append(text)
    if experiments:
        from epochwise.experiments.request import PROTOCOLS

        unknown = [name for name in experiments if name not in PROTOCOLS]
        if unknown:
            raise UsageError(
                f"There is no experiment {', '.join(unknown)}. There are {', '.join(PROTOCOLS)}.",
                cause="a misspelt name",
                remedy=EXAMPLE,
            )
    if len(models) not in (0, _PAIR):
        count = "One model was" if len(models) == 1 else f"{len(models)} models were"
        raise UsageError(
            f"{count} given ({', '.join(models)}); the experiments compare two.",
            cause="the second was forgotten, or a name of an experiment is misspelt" if len(models) == 1 else "",
            remedy=f"two, or none for the question's own: {EXAMPLE}",
        )
    return tuple(dict.fromkeys(experiments)), tuple(models)


def _check_outlook(plan: bool, status: bool, json: str | None, report: str | None) -> None:
    """Refuse what would write a result of nothing.

    Raises:
        UsageError: ``--plan`` or ``--status`` with a file for the result.
    """
    if (plan or status) and (json or report):
        option = "--plan" if plan else "--status"
        raise UsageError(
            f"{option} trains nothing, so there is no result to write.", remedy=f"{option} without --json and --report"
        )


def _check_where(cluster: str | None, workers: int | None) -> None:
    """Find out before any work whether trainings can run where they are wanted.

    Raises:
        UsageError: a number of workers for a cluster that has its own.
        BackendMissingError: Ray is not installed.
    """
    if cluster is None:
        return
    from epochwise.trials.cluster import LOCAL, Cluster

    Cluster(cluster)
    if workers is not None and cluster != LOCAL:
        raise UsageError(
            f"--workers {workers}: on the cluster {cluster}, its nodes say how many trainings run at once.",
            remedy=f"--cluster {cluster} alone; --workers goes with --cluster {LOCAL}, or with this machine",
        )


def _show_outlook(request: Request, status: bool) -> None:
    """How many trainings, how long, how much of it is there."""
    from epochwise.experiments.evidence import plan
    from epochwise.reporting.evidence_plan import plan_view, status_view

    with Progress() as progress:
        found = plan(request, progress)
    show(status_view(found) if status else plan_view(found))
