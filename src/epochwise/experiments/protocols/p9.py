"""P9, sample efficiency: how many times as many images does the one model need for what the other learns?

Both are trained on n images with the same number of steps, and the weights that did best on validation images are tested.
Once the images are centred as they come; once each lies somewhere on a canvas, at a place of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from epochwise.experiments import canvas as on
from epochwise.experiments.arms import doubted
from epochwise.experiments.models import Description, ours, title
from epochwise.experiments.protocols import p8
from epochwise.experiments.record import Chart, Experiment, Finding, Line, Table, Verdict, band
from epochwise.experiments.statistics import Interval, crossing, data_multiplier, mean_interval, paired_interval
from epochwise.experiments.study import RATE, Study, Tuned
from epochwise.trials.trial import Result, Trial

ID = "P9"
TITLE = "How many images it takes"
CONTROLS = ("cnn_16_64_flatten", "mlp_233")
_VALIDATIONS = 12
_FEWEST_OF_A_CLASS = 5
_LEVELS = 9


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learnt: images as they come, or each somewhere on a canvas.

    Attributes:
        id: ends the names of findings and charts.
        text: for titles and sentences.
        view: of the data.
    """

    id: str
    text: str
    view: Mapping[str, object] | None


def tasks(study: Study) -> tuple[Task, Task]:
    """Centred, and anywhere."""
    canvas = on.large(study)
    view = {"side": canvas.side, "offsets": [list(place) for place in canvas.places], "fresh": False}
    return Task("centred", "centred images", None), Task("anywhere", "objects anywhere on a canvas", view)


def arms(study: Study) -> list[Description]:
    """The pair, and in the larger tiers a larger model of each kind."""
    return [*study.models, *(ours(name) for name in CONTROLS if study.sizes.efficiency_control_seeds)]


def shapes(study: Study) -> list[tuple[int, int, int]]:
    """Shapes of samples that both models must accept."""
    return [on.shape(study, on.large(study))]


def seeds(study: Study, model: Description) -> range:
    """Seeds of an arm: fewer of the larger models, a training of which takes long."""
    return study.seeds if model in study.models else study.seeds_of(study.sizes.efficiency_control_seeds)


def sizes(study: Study) -> list[int]:
    """Numbers of images; those that hold fewer than five of some class are left out, and too large ones stand for all."""
    share = study.data.least_per_class / study.data.samples
    wanted = {min(count, study.data.training) for count in study.sizes.efficiency_samples}
    return sorted(count for count in wanted if count * share >= _FEWEST_OF_A_CLASS)


def plan(study: Study) -> list[Trial]:
    """Learning rates, chosen with all images; then each arm with each number of images and each seed."""
    trials: dict[Trial, None] = {}
    for task in tasks(study):
        for model in arms(study):
            found = _tuned(study, task, model)
            trials |= dict.fromkeys(found.trials)
            for rate in _rates(study, model, found.rate):
                trials |= dict.fromkeys(
                    _trial(study, task, model, count, seed, rate) for count in sizes(study) for seed in seeds(study, model)
                )
    return list(trials)


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """The data multiplier per task; the task with the object anywhere is the protocol's main one."""
    centred, anywhere = tasks(study)
    trials = len(plan(study))
    main = _finding(study, ID, anywhere, study.models, results, tuned=True)
    further = [_finding(study, f"{ID}.centred", centred, study.models, results, tuned=True)]
    if study.sizes.efficiency_control_seeds:
        controls = (ours(CONTROLS[1]), ours(CONTROLS[0]))
        for task in (centred, anywhere):
            further.append(_finding(study, f"{ID}.{task.id}-default-rate", task, study.models, results, tuned=False))
            further.append(_finding(study, f"{ID}.{task.id}-larger", task, controls, results, tuned=True))
    return Experiment.of(
        main,
        title=TITLE,
        seeds=main.seeds,
        trials=trials,
        further=tuple(further),
        charts=(
            *(_curves(study, task, results) for task in (centred, anywhere)),
            *(_multipliers(study, task, results) for task in (centred, anywhere)),
        ),
        tables=tuple(_table(study, task, results) for task in (centred, anywhere)),
        notes=(
            f"{study.sizes.efficiency_steps:,} steps whatever the number of images. The weights with the best accuracy on "
            f"{study.data.validation:,} validation images are tested, which "
            + ("is more than the smallest sets have to train on; it " if study.data.validation > sizes(study)[0] else "")
            + "helps all arms alike. Learning rates were chosen with all images, by "
            f"{p8.seeds_told(study)} where the object lies anywhere, and by one seed else: "
            + "; ".join(
                f"{_tuned(study, task, model).rate:g} for {title(model)} on {task.text}"
                for task in (centred, anywhere)
                for model in arms(study)
            )
            + ".",
            "The multiplier is read where the two curves overlap, at the middle of the accuracies that both reach; its "
            "interval draws seeds anew. An arm that never gets there leaves the interval open.",
        ),
    )


def _trial(study: Study, task: Task, model: Description, count: int, seed: int, rate: float) -> Trial:
    steps = study.sizes.efficiency_steps
    return study.trial(
        model,
        seed=seed,
        steps=steps,
        rate=rate,
        samples=None if count == study.data.training else count,
        view=task.view,
        validate_every=max(1, steps // _VALIDATIONS),
        best=True,
    )


def _tuned(study: Study, task: Task, model: Description) -> Tuned:
    return study.tuned(partial(_tuning, study, task, model))


def _tuning(study: Study, task: Task, model: Description, rate: float) -> list[Trial]:
    """With all images."""
    moving = task.view is not None
    return [_trial(study, task, model, sizes(study)[-1], seed, rate) for seed in study.tuning_seeds(moving)]


def _rates(study: Study, model: Description, best: float | None) -> Iterable[float]:
    """The arm's best one, and for the pair in the larger tiers Keras's own."""
    usual = study.sizes.efficiency_control_seeds and model in study.models
    return {rate for rate in (best, RATE if usual else None) if rate is not None}


def _accuracies(
    study: Study, task: Task, model: Description, results: Mapping[str, Result], *, tuned: bool = True
) -> np.ndarray:
    """Of the best weights on the test images: ``(seeds, sizes)``."""
    rate = (_tuned(study, task, model).rate if tuned else RATE) or RATE
    return np.array(
        [
            [results[_trial(study, task, model, count, seed, rate).key].numbers["best"]["test"] for count in sizes(study)]
            for seed in seeds(study, model)
        ]
    )


def common_level(first: np.ndarray, second: np.ndarray, least: float = 0.0) -> float | None:
    """The middle of the mean accuracies that both curves pass; ``None`` where there is none, or it is not above ``least``."""
    lowest = max(float(first.mean(axis=0).min()), float(second.mean(axis=0).min()))
    highest = min(float(first.mean(axis=0).max()), float(second.mean(axis=0).max()))
    middle = (lowest + highest) / 2
    return middle if lowest < highest and middle > least else None


def _finding(
    study: Study,
    name: str,
    task: Task,
    pair: tuple[Description, Description],
    results: Mapping[str, Result],
    *,
    tuned: bool,
) -> Finding:
    first, second = (_accuracies(study, task, model, results, tuned=tuned) for model in pair)
    level, counts = common_level(first, second, study.enough), sizes(study)
    names = title(pair[1]), title(pair[0])
    on_task = f"On {task.text}{'' if tuned else f' at learning rate {RATE:g}'}"
    if level is not None:
        found = data_multiplier(counts, first, second, level)
        sentence = f"{on_task}, for {100 * level:.1f} per cent, {names[1]} needs {_times(found)} as many images as {names[0]}."
    elif _apart(second, first):
        found = Interval(math.nan, counts[-1] / counts[0], math.inf)
        sentence = _never(on_task, names[1], names[0], counts)
    elif _apart(first, second):
        found = Interval(math.nan, 0.0, counts[0] / counts[-1])
        sentence = _never(on_task, names[0], names[1], counts)
    else:
        found = Interval(math.nan, 0.0, math.inf)
        sentence = (
            f"{on_task} there is no accuracy, clearly above chance, that both reach with some of these numbers of images."
        )
    learnt = [mean_interval(each[:, each.mean(axis=0).argmax()]).low > study.enough for each in (first, second)]
    verdict: Verdict = "supported" if found.low > 1 else "refuted" if found.high <= 1 else "undecided"
    rate = "" if tuned else f" at learning rate {RATE:g}"
    made = Finding(
        id=name,
        claim=f"On {task.text} {names[0]} needs fewer images than {names[1]}{rate}.",
        falsified_if="the interval of how many times as many the latter needs does not go beyond 1",
        verdict=verdict,
        **found._asdict(),
        unit=f"images of {names[1]} for one of {names[0]}",
        seeds=len(first),
        trials=2 * len(first) * len(counts),
        sentence=sentence,
    )
    return made if any(learnt) else doubted(made, reversed(names))


def _apart(ahead: np.ndarray, behind: np.ndarray) -> bool:
    """Whether one arm is surely better with its worst number of images than the other one with its best."""
    return paired_interval(ahead[:, ahead.mean(axis=0).argmin()], behind[:, behind.mean(axis=0).argmax()]).low > 0


def _never(on_task: str, behind: str, ahead: str, counts: Sequence[int]) -> str:
    return (
        f"{on_task} {behind} is less accurate with any number up to {counts[-1]:,} images than {ahead} with {counts[0]:,}, so "
        f"it needs more than {counts[-1] / counts[0]:.0f} times as many."
    )


def _times(found: Interval) -> str:
    low, high = (f"{end:.2g}" if math.isfinite(end) else "unknown" for end in found[1:])
    return f"{'an unknown number of' if math.isnan(found.estimate) else f'{found.estimate:.2g}'} times [{low}, {high}]"


def _curves(study: Study, task: Task, results: Mapping[str, Result]) -> Chart:
    lines = []
    for model in arms(study):
        intervals = [mean_interval(column) for column in _accuracies(study, task, model, results).T]
        lines.append(band(title(model), tuple(float(count) for count in sizes(study)), intervals, within=(0.0, 1.0)))
    return Chart(
        id=f"data-efficiency-{task.id}",
        kind="curves",
        title=f"Accuracy by number of images: {task.text}",
        x="images in training",
        y="test accuracy",
        logarithmic="x",
        lines=tuple(lines),
    )


def _multipliers(study: Study, task: Task, results: Mapping[str, Result]) -> Chart:
    """How many times as many images, over the accuracies that both means pass."""
    first, second = (_accuracies(study, task, model, results) for model in study.models)
    curves, counts = (first.mean(axis=0), second.mean(axis=0)), sizes(study)
    lowest, highest = max(float(each.min()) for each in curves), min(float(each.max()) for each in curves)
    levels = np.linspace(lowest, highest, _LEVELS) if lowest < highest else np.array([])
    needed = [tuple(crossing(counts, curve, level) for curve in curves) for level in levels[1:-1]]
    both = [each for each, (one, other) in enumerate(needed) if one > 0 and other > 0]  # 0: before the smallest number
    line = Line(
        name=f"{title(study.models[0])} over {title(study.models[1])}",
        x=tuple(levels[1:-1][each] for each in both),
        y=tuple(needed[each][0] / needed[each][1] for each in both),
    )
    return Chart(
        id=f"data-multiplier-{task.id}",
        kind="curves",
        title=f"How many times as many images for the same accuracy: {task.text}",
        x="test accuracy",
        y="ratio of numbers of images",
        logarithmic="y",
        lines=(line,),
    )


def _table(study: Study, task: Task, results: Mapping[str, Result]) -> Table:
    rows = []
    for model in arms(study):
        means = [mean_interval(column) for column in _accuracies(study, task, model, results).T]
        rows.append((title(model), *(each.times(100).told(1) for each in means)))
    columns = ("model", *(f"{count:,}" for count in sizes(study)))
    return Table(title=f"Test accuracy by number of images, per cent: {task.text}", columns=columns, rows=tuple(rows))
