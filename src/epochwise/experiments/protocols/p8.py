"""P8, augmentation as a substitute: does showing the object in more places do what an architecture is said to do?

The object lies at one of k places, evenly spread over the canvas, drawn anew for each image shown; the number of steps is the
same for all k. What counts is the worst of all 225 places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from epochwise.experiments import canvas as on
from epochwise.experiments.arms import doubted
from epochwise.experiments.models import Description, ours, title
from epochwise.experiments.record import Chart, Experiment, Finding, Table, Verdict, band
from epochwise.experiments.statistics import Interval, mean_interval, seed_bootstrap
from epochwise.experiments.study import Study, Tuned
from epochwise.trials.trial import Result, Trial

ID = "P8"
TITLE = "Showing it in more places"
POOLED = "cnn_16_64_gmp"
ENOUGH = 0.9
"""Share of the accuracy in the one place, trained there alone, that the worst place must reach."""


def arms(study: Study) -> list[Description]:
    """The pair, and a CNN with a pooled head."""
    return [*study.models, ours(POOLED)]


def seeds(study: Study) -> range:
    """Seeds of each arm."""
    return study.seeds_of(study.sizes.placed_seeds)


def seeds_told(study: Study) -> str:
    """With how many seeds a learning rate is chosen where the object's place changes, in words. P9 says it too."""
    count = len(study.tuning_seeds(moving=True))
    return "one seed" if count == 1 else f"the mean over {count} seeds"


def shapes(study: Study) -> list[tuple[int, int, int]]:
    """Shapes of samples that both models must accept."""
    return [on.shape(study, on.large(study))]


def everywhere(study: Study, model: Description, of_seeds: Sequence[int]) -> list[Trial]:
    """Trainings with the object at all places, weights kept; none while the learning rate is not known. P6 and P7 use them."""
    rate = tuned(study, model).rate
    per_side = len(on.large(study).offsets)
    return [] if rate is None else [_trial(study, model, per_side, seed, rate) for seed in of_seeds]


def tuned(study: Study, model: Description) -> Tuned:
    """How far the choice of an arm's learning rate is, made with the object at all places. P6 and P7 use it."""
    canvas = on.large(study)
    return on.tuned(study, model, canvas, canvas.places)


def plan(study: Study) -> list[Trial]:
    """Learning rates, chosen with the object at all places; then each arm with each number of places and each seed."""
    trials: dict[Trial, None] = {}
    for model in arms(study):
        found = tuned(study, model)
        trials |= dict.fromkeys(found.trials)
        if found.rate is not None:
            for count in study.sizes.places_per_side:
                trials |= dict.fromkeys(_trial(study, model, count, seed, found.rate) for seed in seeds(study))
    return list(trials)


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """The fewest places that are enough, per arm."""
    canvas = on.large(study)
    counts = [per_side**2 for per_side in study.sizes.places_per_side]
    maps = {str(model["name"]): _maps(study, model, results) for model in arms(study)}
    found = {name: _fewest(each, canvas, counts) for name, each in maps.items()}
    worst = {name: each.min(axis=(2, 3)) for name, each in maps.items()}
    mean = {name: each.mean(axis=(2, 3)) for name, each in maps.items()}
    count, trials = len(seeds(study)), len(plan(study))
    first, second = study.models
    gets_there = {name: math.isfinite(each.high) for name, each in found.items()}
    learnt = {name: mean_interval(on.at(each[:, 0], canvas, canvas.centre)).low > study.enough for name, each in maps.items()}
    by_cnn = any(gets_there[name] and learnt[name] for name in gets_there if name != first["name"])
    main = _main(first, found[str(first["name"])], by_cnn, worst[str(first["name"])], counts, count, trials)

    def judged(finding: Finding, model: Description) -> Finding:
        return doubted(finding, [] if learnt[str(model["name"])] else [title(model)])

    return Experiment.of(
        judged(main, first),
        title=TITLE,
        seeds=count,
        trials=trials,
        further=tuple(
            judged(_enough(f"{ID}.{name}", model, found[str(model["name"])], counts, count, trials), model)
            for name, model in (("second", second), ("pooled", ours(POOLED)))
        ),
        charts=(
            _chart("worst-place", "Accuracy at the worst of all places", study, counts, worst),
            _chart("mean-place", "Mean accuracy over all places", study, counts, mean),
        ),
        tables=(
            Table(
                title="Accuracy at the worst place and on average over places, per cent",
                columns=("model", "places in training", "worst", "mean", "where trained in one place"),
                rows=tuple(
                    (
                        title(model),
                        f"{places}",
                        _percent(worst[str(model["name"])][:, number]),
                        _percent(mean[str(model["name"])][:, number]),
                        _percent(on.at(maps[str(model["name"])][:, 0], canvas, canvas.centre)),
                    )
                    for model in arms(study)
                    for number, places in enumerate(counts)
                ),
            ),
        ),
        notes=(
            f"{on.samples(study):,} images, {study.sizes.canvas_epochs} epochs, whatever the number of places. Learning rates "
            f"were chosen with the object at all places, on validation images, by {seeds_told(study)}: "
            + "; ".join(f"{tuned(study, model).rate:g} for {title(model)}" for model in arms(study))
            + ".",
            f"The worst of {len(canvas.places)} places is partly bad luck with {study.sizes.position_images:,} images at each, "
            "for all arms alike.",
        ),
    )


def _trial(study: Study, model: Description, per_side: int, seed: int, rate: float) -> Trial:
    canvas = on.large(study)
    places = canvas.places if per_side == len(canvas.offsets) else canvas.spread(per_side)
    return on.training(study, model, canvas, places, seed, rate, keep_weights=per_side == len(canvas.offsets))


def _maps(study: Study, model: Description, results: Mapping[str, Result]) -> np.ndarray:
    """Accuracies ``(seeds, numbers of places, down, right)``."""
    canvas, rate = on.large(study), tuned(study, model).rate
    assert rate is not None  # everything is known when it is judged
    trials = [[_trial(study, model, each, seed, rate) for each in study.sizes.places_per_side] for seed in seeds(study)]
    return np.array([[on.accuracy_map(results[trial.key], canvas) for trial in of_seed] for of_seed in trials])


def _fewest(maps: np.ndarray, canvas: on.Canvas, counts: Sequence[int]) -> Interval:
    """The least number of places whose worst place is good enough; infinite where none is."""
    in_place = on.at(maps[:, 0], canvas, canvas.centre)
    worst = maps.min(axis=(2, 3))

    def statistic(drawn: NDArray[np.int64]) -> float:
        enough = worst[drawn].mean(axis=0) >= ENOUGH * in_place[drawn].mean()
        return float(counts[int(np.argmax(enough))]) if enough.any() else math.inf

    return seed_bootstrap(statistic, len(maps))


def _main(
    model: Description,
    fewest: Interval,
    by_cnn: bool,
    worst: np.ndarray,
    counts: Sequence[int],
    seeds: int,
    trials: int,
) -> Finding:
    """Whether it takes a CNN: refuted by a first model that gets there too; if nothing gets there, nobody knows."""
    alone = by_cnn and math.isinf(fewest.low)
    verdict: Verdict = "refuted" if math.isfinite(fewest.high) else "supported" if alone else "undecided"
    return Finding(
        id=ID,
        claim=f"However many places it is shown in as many steps, {title(model)} does not recognise the object at all of them, "
        "and a CNN does.",
        falsified_if=f"with {counts[-1]} places or fewer, its worst one reaches {ENOUGH:g} of what it reaches in one alone",
        verdict=verdict,
        **fewest._asdict(),
        unit="places in training that are enough",
        seeds=seeds,
        trials=trials,
        sentence=f"{title(model)}: {_told(fewest)}; with {counts[-1]} the worst is at {_percent(worst[:, -1])} per cent.",
    )


def _enough(name: str, model: Description, fewest: Interval, counts: Sequence[int], seeds: int, trials: int) -> Finding:
    verdict: Verdict = "supported" if math.isfinite(fewest.high) else "refuted" if math.isinf(fewest.low) else "undecided"
    return Finding(
        id=name,
        claim=f"Shown in enough places in as many steps, {title(model)} recognises the object at all of them.",
        falsified_if=f"with {counts[-1]} places its worst one stays below {ENOUGH:g} of what it reaches in one place alone",
        verdict=verdict,
        **fewest._asdict(),
        unit="places in training that are enough",
        seeds=seeds,
        trials=trials,
        sentence=f"{title(model)}: {_told(fewest)}.",
    )


def _told(fewest: Interval) -> str:
    if math.isinf(fewest.estimate):
        return "no number of places that was tried is enough"
    ends = [f"{end:.0f}" if math.isfinite(end) else "more than were tried" for end in (fewest.low, fewest.high)]
    enough = "place is" if fewest.estimate == 1 else "places are"
    return f"{fewest.estimate:.0f} {enough} enough [{ends[0]}, {ends[1]}]"


def _chart(name: str, text: str, study: Study, counts: Sequence[int], values: Mapping[str, np.ndarray]) -> Chart:
    lines = []
    for model in arms(study):
        intervals = [mean_interval(column) for column in values[str(model["name"])].T]
        lines.append(band(title(model), tuple(float(count) for count in counts), intervals, within=(0.0, 1.0)))
    return Chart(id=name, kind="curves", title=text, x="places in training", y="accuracy", logarithmic="x", lines=tuple(lines))


def _percent(values: np.ndarray) -> str:
    return mean_interval(values).times(100).told(1)
