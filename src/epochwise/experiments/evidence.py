"""The experiments from end to end: planned, completed by a runner, judged, and put into a record."""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import msgspec

from epochwise.errors import TrialsFailedError, UsageError
from epochwise.experiments.agreement import Pairs, agreement, sampled
from epochwise.experiments.models import title
from epochwise.experiments.preparing import Prepared, Shape, default_store, informed, prepare
from epochwise.experiments.record import Evidence, Experiment, recorded
from epochwise.experiments.request import PROTOCOLS, Plan, PlannedProtocol, Progress, Request
from epochwise.experiments.statistics import holm
from epochwise.experiments.study import Study
from epochwise.experiments.verdicts import table
from epochwise.machines.host import host
from epochwise.trials.cluster import Cluster
from epochwise.trials.completing import complete, status
from epochwise.trials.events import Runner
from epochwise.trials.local import Local
from epochwise.trials.store import Store
from epochwise.trials.trial import Result, Trial

Kind = TypeVar("Kind", bound=msgspec.Struct)

CONTROL = "P0"
OF_THEIR_OWN = ("P0", "P10")
"""Protocols that have their own models and data."""
LEAST_PER_CLASS = 24
"""Images of the rarest class: of one in twelve that are held back for choices, two."""
LOOKING = "looking at models and data"
_LEVEL = 0.05


class ProtocolModule(Protocol):
    """What each module in ``protocols/`` has.

    Some also have ``shapes(study)``, of samples that both models must accept besides the images as they are, and
    ``p_value(study, results) -> float``, of the hypothesis that their verdict rejects.
    """

    ID: str
    TITLE: str

    def plan(self, study: Study) -> list[Trial]:
        """Trials that can be named by now; more may follow when these are known."""

    def judge(self, study: Study, results: Mapping[str, Result]) -> Experiment:
        """The outcome, from the results of all trials planned."""


def evidence(
    *models: str,
    experiments: Sequence[str] = (),
    tier: str = "smoke",
    data: str = "fashion-mnist",
    backend: str | None = None,
    store: str | Path | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    seed: int = 0,
    agreement: bool = True,
    progress: Progress | None = None,
) -> Evidence:
    """Run the experiments: what does the extra time of the second model buy?

    Args:
        *models: two MODEL strings (``"models.py:dense", "models.py:convolutional"``), or none for the question's own.
        experiments: some of ``P0`` to ``P10``; by default all. The control P0 is always run.
        tier: ``smoke`` (3 seeds, minutes), ``standard`` (5 seeds, an hour or more) or ``full`` (29).
        data: ``fashion-mnist``, an ``.npz`` file with images and classes, or a function, as ``--data`` takes it.
        backend: of Keras; by default the one that Keras would take.
        store: the file in which trials are kept, so that none is trained twice; by default in the user's cache folder.
        cluster: address of a Ray cluster, or ``local``; by default this machine's cores are used.
        workers: trials at once, on this machine; by default one per core.
        seed: the first of the seeds.
        agreement: whether a sample of the trials is trained by Keras as well.
        progress: called as ``progress(done, total, text)``.

    Returns:
        Findings with intervals, charts, and the verdict table.

    Raises:
        UsageError: the request does not fit together.
        EpochwiseError: models or data that cannot be used, a store or a cluster that cannot be reached.
    """
    request = Request(
        models=models,
        experiments=tuple(experiments),
        tier=tier,
        data=data,
        backend=backend,
        store=store,
        cluster=cluster,
        workers=workers,
        seed=seed,
        agreement=agreement,
    )
    return run(request, progress)


def run(request: Request, progress: Progress | None = None, say: Callable[[str], None] | None = None) -> Evidence:
    """The same for a request.

    Args:
        request: what is wanted.
        progress: called as ``progress(done, total, text)``.
        say: called with each note about models and data, before anything is trained.

    Raises:
        EpochwiseError: see :func:`evidence`.
    """
    began = time.perf_counter()
    tell = progress or (lambda done, total, text: None)
    protocols = chosen(request)
    tell(0, 1, LOOKING)
    prepared = prepare(request, _shapes_of(protocols))
    runner = _runner(request, prepared.study.backend)
    with Store(request.store or default_store()) as store:
        study = informed(prepared, complete(prepared.looks, store, runner) if prepared.looks else {})
        if say is not None:
            for note in study.notes:
                say(note)
        refused = {module.ID: reason for module in protocols if (reason := _left_out(module, study))}
        active = [module for module in protocols if module.ID not in refused]
        pairs = _pairs(study, active) if request.agreement else ()
        extra = [keras for _, keras in pairs]
        study, failures = _completed(study, active, extra, store, runner, tell)
        notes = (*study.notes, *store.notes)
    tell(1, 1, "judging")
    experiments = _judged(study, protocols, refused, failures)
    passed = any(each.id == CONTROL and each.verdict == "supported" for each in experiments)
    everything = [trial for trial in (*_trials(active, study), *extra) if trial.key in study.known]
    results = [study.known[trial.key] for trial in dict.fromkeys(everything)]
    cores = f"{request.workers or host().cores} workers" if request.cluster is None else f"the cluster {request.cluster}"
    return Evidence(
        version=metadata.version("epochwise"),
        tier=request.tier,
        models=tuple(title(model) for model in study.models),
        data=study.data.name,
        backend=study.backend,
        machine=f"{host().name}, {cores}",
        trainings=len(results),
        training_seconds=sum(result.seconds for result in results),
        seconds=time.perf_counter() - began,
        verdicts=table(study, experiments, passed),
        experiments=tuple(experiments),
        agreement=agreement(pairs, study.known),
        notes=notes,
    )


def plan(request: Request, progress: Progress | None = None) -> Plan:
    """What a request will take; nothing is trained. A user's models are built, to count them.

    Raises:
        EpochwiseError: see :func:`evidence`.
    """
    tell = progress or (lambda done, total, text: None)
    tell(0, 2, LOOKING)
    protocols = chosen(request)
    prepared = prepare(request, _shapes_of(protocols))
    path = Path(request.store or default_store())
    study = _counted(prepared, request, path)
    modules = [module for module in protocols if not _left_out(module, study)]
    pairs = _pairs(study, modules) if request.agreement else ()
    workers = None if request.cluster not in (None, "local") else request.workers or host().cores
    tell(1, 2, "planning")
    with Store(path, writing=False) as store:
        study = dataclasses.replace(_remembering(study, modules, store), supposing=True)
        active = {module.ID: module.plan(study) for module in modules}
        everything = dict.fromkeys([trial for trials in active.values() for trial in trials] + [keras for _, keras in pairs])
        done = set(store.seconds(everything))
        left = status(everything, store, workers or 1).seconds_left
    if left is None:  # nothing is done yet that would tell how long such trials take here
        costs = [trial.cost for trial in everything]
        left = max(sum(costs) / (workers or 1), *costs)
    rows = []
    for module in protocols:
        trials = active.get(module.ID, [])
        rows.append(
            PlannedProtocol(
                id=module.ID,
                title=module.TITLE,
                trainings=len(trials),
                done=sum(trial.key in done for trial in trials),
                seconds=sum(trial.cost for trial in trials),
                left_out=_left_out(module, study),
            )
        )
    return Plan(
        tier=request.tier,
        models=tuple(title(model) for model in study.models),
        data=study.data.name,
        backend=study.backend,
        store=str(path),
        workers=workers,
        protocols=tuple(rows),
        trainings=len(everything),
        done=len(done),
        seconds=left,
        notes=study.notes,
    )


def chosen(request: Request) -> list[ProtocolModule]:
    """The protocols of a request, in their order; the control is always among them.

    Raises:
        UsageError: there is no protocol of that name.
    """
    asked = {name.upper() for name in request.experiments} or set(PROTOCOLS)
    unknown = sorted(asked - set(PROTOCOLS))
    if unknown:
        raise UsageError(
            f"There is no experiment {', '.join(unknown)}; there are {', '.join(PROTOCOLS)}.", remedy="epochwise evidence P1 P6"
        )
    names = [name for name in PROTOCOLS if name in asked | {CONTROL}]
    modules = [importlib.import_module(f"epochwise.experiments.protocols.{name.lower()}") for name in names]
    return [cast("ProtocolModule", module) for module in modules]


def _runner(request: Request, backend: str) -> Runner:
    if request.cluster is not None:
        return Cluster(request.cluster, request.workers, backend)
    return Local(request.workers, backend)


def _counted(prepared: Prepared, request: Request, path: Path) -> Study:
    """The study of a plan; a user's models are looked at, unless the store knows them."""
    if not prepared.looks:
        return informed(prepared, {})
    with Store(path) as store:
        return informed(prepared, complete(prepared.looks, store, _runner(request, prepared.study.backend)))


def _shapes_of(modules: Iterable[ProtocolModule]) -> Callable[[Study], list[Shape]]:
    """Shapes of samples that any of these shows to both models."""
    return lambda study: [shape for module in modules for shape in _shapes(module, study)]


def _shapes(module: ProtocolModule, study: Study) -> list[Shape]:
    return list(cast("Any", module).shapes(study)) if hasattr(module, "shapes") else []


def _left_out(module: ProtocolModule, study: Study) -> str:
    """Why a protocol cannot be run with these models and data; empty where it can."""
    if module.ID in OF_THEIR_OWN:
        return ""
    if study.data.least_per_class < LEAST_PER_CLASS:
        count = f"{study.data.least_per_class} image{'' if study.data.least_per_class == 1 else 's'}"
        return (
            f"the rarest class has {count} to train on, and {LEAST_PER_CLASS} are needed, so that "
            "each class is there when learning rates are chosen."
        )
    reasons = (study.refused.get((str(model["name"]), shape), "") for model in study.models for shape in _shapes(module, study))
    return " ".join(dict.fromkeys(filter(None, reasons)))


def _trials(modules: Iterable[ProtocolModule], study: Study) -> list[Trial]:
    return list(dict.fromkeys(trial for module in modules for trial in module.plan(study)))


def _pairs(study: Study, modules: Iterable[ProtocolModule]) -> Pairs:
    """What Keras trains as well, chosen among the trials that need no others: so a plan names the same ones as a run."""
    return sampled(study, _trials(modules, study))


def _remembering(study: Study, modules: Sequence[ProtocolModule], store: Store) -> Study:
    """The study with all results in a store that matter to it, also of trials that can only be named when others are known."""
    while True:
        unknown = [trial for trial in _trials(modules, study) if trial.key not in study.known]
        found = {trial.key: result for trial in unknown if (result := store.get(trial)) is not None}
        if not found:
            return study
        study = _knowing(study, found)


def _completed(
    study: Study, modules: Sequence[ProtocolModule], extra: Sequence[Trial], store: Store, runner: Runner, tell: Progress
) -> tuple[Study, dict[str, str]]:
    """The study with all results, and errors of trials that have none. Some trials can only be named when others are done."""
    failures: dict[str, str] = {}
    while True:
        trials = [*dict.fromkeys([*_trials(modules, study), *extra])]
        if all(trial.key in study.known or trial.key in failures for trial in trials):
            return study, failures
        todo = [each for each in trials if each.key not in failures]
        later = [each for each in _trials(modules, dataclasses.replace(study, supposing=True)) if each.key not in failures]
        try:
            study = _knowing(study, complete(todo, store, runner, tell, later))
        except TrialsFailedError as error:
            failures |= error.failures
            study = _knowing(study, error.results)


def _knowing(study: Study, found: Mapping[str, Result]) -> Study:
    return dataclasses.replace(study, known={**study.known, **found})


def _judged(
    study: Study, modules: Sequence[ProtocolModule], refused: Mapping[str, str], failures: Mapping[str, str]
) -> list[Experiment]:
    """Every protocol's outcome; of those that could not be run, why."""
    made: list[Experiment] = []
    p_values: dict[str, float] = {}
    for module in modules:
        reason = refused.get(module.ID, "")
        if not reason:
            errors = [failures[trial.key] for trial in module.plan(study) if trial.key in failures]
            reason = f"{len(errors)} of its trials have no result. {errors[0]}" if errors else ""
        if reason:
            made.append(_nothing(module, reason))
            continue
        experiment = recorded(module.judge(study, study.known))
        broken = [check.name for check in experiment.checks if not check.passed]
        if broken and experiment.id != CONTROL:
            note = f"Nothing is concluded, since what must hold exactly did not: {'; '.join(broken)}."
            experiment = _without_verdict(experiment, note)
        elif experiment.verdict in ("supported", "refuted") and hasattr(module, "p_value"):
            p_values[module.ID] = cast("Any", module).p_value(study, study.known)
        made.append(experiment)
    control = next(each for each in made if each.id == CONTROL)
    if control.verdict != "supported":
        note = "Nothing is concluded, since the control of the harness, P0, did not pass."
        return [each if each.id == CONTROL else _without_verdict(each, note) for each in made]
    return _corrected(made, p_values)


def _corrected(experiments: list[Experiment], p_values: Mapping[str, float]) -> list[Experiment]:
    """Verdicts that do not survive the number of hypotheses (Holm) become undecided."""
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    made = []
    for experiment in experiments:
        p_value = adjusted.get(experiment.id)
        if p_value is None:
            made.append(experiment)
            continue
        said = f"p = {p_values[experiment.id]:.2g}"
        if len(p_values) > 1:
            said += f", and {p_value:.2g} after Holm's correction for {len(p_values)} hypotheses"
        verdict = experiment.verdict
        if p_value >= _LEVEL:
            said += f": by itself the verdict would be '{verdict}'"
            verdict = "undecided"
        made.append(_replaced(experiment, verdict=verdict, notes=(*experiment.notes, said + ".")))
    return made


def _nothing(module: ProtocolModule, reason: str) -> Experiment:
    return Experiment(
        id=module.ID, title=module.TITLE, claim="", falsified_if="", verdict="not measured", sentence=f"Left out: {reason}"
    )


def _without_verdict(experiment: Experiment, note: str) -> Experiment:
    further = tuple(_replaced(each, verdict="not measured") for each in experiment.further)
    return _replaced(experiment, verdict="not measured", further=further, notes=(note, *experiment.notes))


def _replaced(record: Kind, **changes: Any) -> Kind:
    return msgspec.structs.replace(record, **changes)
