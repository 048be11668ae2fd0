"""P0, the control of the harness: does it find the gaps between models that others have published?

If it does not, nothing else that it finds is to be believed. The figures are those of the authors' notebook
(mnist1d-classification.ipynb of greydanus/mnist1d, after 6,000 steps).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from epochwise.experiments import control
from epochwise.experiments.record import Check, Experiment, Finding, Table
from epochwise.experiments.statistics import Interval, mean_interval, paired_interval
from epochwise.experiments.study import Study
from epochwise.trials.trial import Result, Trial

ID = "P0"
TITLE = "Control: are published gaps found again?"
TOLERANCE = 0.03
PUBLISHED = {
    ("cnn", False): 0.923,
    ("mlp", False): 0.651,
    ("linear", False): 0.315,
    ("cnn", True): 0.587,
    ("mlp", True): 0.660,
    ("linear", True): 0.315,
}
"""Test accuracy by model and whether the places are shuffled."""
PARAMETERS = {"cnn": 5_210, "mlp": 15_210, "linear": 410}

_NAMES = {"cnn": "CNN", "mlp": "MLP", "linear": "linear"}
_SECONDS = {"cnn": 6.0, "mlp": 4.0, "linear": 1.5}


def plan(study: Study) -> list[Trial]:
    """Each model, in order and shuffled, with each seed."""
    return [_trial(study, model, shuffled, seed) for model, shuffled in PUBLISHED for seed in study.seeds]


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """Six accuracies against the published ones, and the gaps between them."""
    found = {
        (model, shuffled): np.array(
            [np.mean(results[_trial(study, model, shuffled, seed).key].numbers["accuracy"]) for seed in study.seeds]
        )
        for model, shuffled in PUBLISHED
    }
    parameters = {model: results[_trial(study, model, False, 0).key].numbers["parameters"] for model in PARAMETERS}
    means = {arm: mean_interval(values) for arm, values in found.items()}
    off = {arm: means[arm].estimate - PUBLISHED[arm] for arm in PUBLISHED}
    worst = max(off, key=lambda arm: abs(off[arm]))
    passed = abs(off[worst]) <= TOLERANCE and parameters == PARAMETERS
    trials = len(plan(study))
    gaps = {shuffled: paired_interval(found["cnn", shuffled], found["mlp", shuffled]) for shuffled in (False, True)}
    return Experiment(
        id=ID,
        title=TITLE,
        claim="The harness finds the published accuracies of MNIST-1D again.",
        falsified_if=f"one of the six accuracies is more than {100 * TOLERANCE:.0f} points off",
        verdict="supported" if passed else "refuted",
        estimate=100 * off[worst],
        low=100 * (means[worst].low - PUBLISHED[worst]),
        high=100 * (means[worst].high - PUBLISHED[worst]),
        unit="accuracy points off, where it is furthest off",
        seeds=len(study.seeds),
        trials=trials,
        sentence=f"All six accuracies are within {100 * abs(off[worst]):.1f} points of those published ({_arm(worst)} "
        f"is furthest off: {_percent(means[worst])} against {100 * PUBLISHED[worst]:.1f})."
        if passed
        else f"{_arm(worst)} reaches {_percent(means[worst])}, and {100 * PUBLISHED[worst]:.1f} is published: nothing below "
        "may be trusted.",
        further=tuple(_gap(shuffled, gap, len(study.seeds), trials) for shuffled, gap in gaps.items()),
        checks=tuple(
            Check(f"{_NAMES[model]} has {PARAMETERS[model]:,} parameters", count == PARAMETERS[model], f"{count:,}")
            for model, count in parameters.items()
        ),
        tables=(
            Table(
                title="Test accuracy on MNIST-1D, per cent",
                columns=("model", "places", "here", "published", "off by"),
                rows=tuple(
                    (
                        _NAMES[arm[0]],
                        "shuffled" if arm[1] else "in order",
                        _percent(means[arm]),
                        f"{100 * PUBLISHED[arm]:.1f}",
                        f"{100 * off[arm]:+.1f}",
                    )
                    for arm in PUBLISHED
                ),
            ),
        ),
        notes=(
            "Data are drawn here as arXiv 2011.14439 describes; each seed draws its own. The published figures are of one data "
            "set and one training each.",
        ),
    )


def _trial(study: Study, model: str, shuffled: bool, seed: int) -> Trial:
    arguments = {"model": model, "shuffled": shuffled, "seed": seed, "backend": study.backend}
    return Trial(run=control.RUN, recipe=control.RECIPE, arguments=arguments, cost=_SECONDS[model])


def _gap(shuffled: bool, gap: Interval, seeds: int, trials: int) -> Finding:
    """Order matters to the CNN: it must win by it, and lose without it."""
    published = PUBLISHED["cnn", shuffled] - PUBLISHED["mlp", shuffled]
    as_published = gap.high < 0 if shuffled else gap.low > 0
    against = gap.low > 0 if shuffled else gap.high < 0
    places = "shuffled places" if shuffled else "places in order"
    return Finding(
        id=f"{ID}.{'shuffled' if shuffled else 'ordered'}",
        claim=f"With {places} the CNN is {'worse' if shuffled else 'better'} than the MLP.",
        falsified_if=f"its interval lies {'above' if shuffled else 'below'} 0",
        verdict="supported" if as_published else "refuted" if against else "undecided",
        **gap.times(100)._asdict(),
        unit="accuracy points, CNN minus MLP",
        seeds=seeds,
        trials=trials // 3,
        sentence=f"With {places} the CNN's accuracy minus the MLP's is {100 * gap.estimate:+.1f} points "
        f"[{100 * gap.low:.1f}, {100 * gap.high:.1f}]; {100 * published:+.1f} is published.",
    )


def _arm(arm: tuple[str, bool]) -> str:
    return f"the {_NAMES[arm[0]]} with places {'shuffled' if arm[1] else 'in order'}"


def _percent(interval: Interval) -> str:
    return interval.times(100).told(1)
