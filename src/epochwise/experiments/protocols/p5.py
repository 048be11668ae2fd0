"""P5: does a model use where pixels lie? All pixels change places, in training and test alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from epochwise.experiments import exact
from epochwise.experiments.arms import Arm, Runs, agreed, planned, runs, span, where_learnt
from epochwise.experiments.models import Description, title
from epochwise.experiments.record import Chart, Check, Experiment, Finding, Table, Verdict, band
from epochwise.experiments.statistics import MARGIN, Interval, difference_of, mean_interval, paired_p_value
from epochwise.experiments.study import Study
from epochwise.trials.trial import Result, Trial

ID = "P5"
TITLE = "Pixels in another order"
LAST = 3
EXACT = 1e-12
"""Largest difference of losses in double precision, relative, that rounding explains."""

Found = tuple[Runs, list[Runs]]
"""An arm with pixels in order, and with each permutation."""


def plan(study: Study) -> list[Trial]:
    """Both models, with pixels in order and with each permutation; and the exact check of the first."""
    arms = [arm for model in study.models for arm in (_arm(study, model, 0), _arm(study, model, 1))]
    trials = planned(study, arms, study.seeds)
    for model in study.models:
        rate = _arm(study, model, 1).tuned(study).rate
        for number in _permutations(study)[1:]:
            arm = _arm(study, model, number)
            trials += [arm.make(seed, each) for seed in study.seeds for each in {0.01, rate or 0.01}]
    return list(dict.fromkeys([*trials, *exact.trials(study)]))


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """How much each model loses, and the difference of the losses."""
    found = {best: tuple(_found(study, model, results, best) for model in study.models) for best in (False, True)}
    drops = {best: tuple(_drops(each) for each in pair) for best, pair in found.items()}
    losses = {best: tuple(mean_interval(drop).times(100) for drop in pair) for best, pair in drops.items()}
    more = {best: mean_interval(pair[1] - pair[0]).times(100) for best, pair in drops.items()}
    first, second = (title(model) for model in study.models)
    trials = len(plan(study))
    verdict = agreed(_loses(losses[False][1]), _loses(losses[True][1]))
    count = len(_permutations(study))
    in_order = [pair[0] for pair in found[True]]
    made = Experiment(
        id=ID,
        title=TITLE,
        claim=f"{second} uses where pixels lie beside each other.",
        falsified_if=f"{second} loses nothing when all pixels change places: the interval of its loss is within "
        f"{100 * MARGIN:g} points or below 0, at learning rate 0.01 and at its best ones",
        verdict=verdict,
        **losses[False][1]._asdict(),
        unit=f"accuracy points that {second} loses",
        seeds=len(study.seeds),
        trials=trials,
        sentence=f"With pixels in another order {second} loses {span(losses[False][1])} points and {first} "
        f"{span(losses[False][0])}; with the best learning rates {span(losses[True][1])} and {span(losses[True][0])}.",
        further=(
            where_learnt(_first(study, losses, trials), study, in_order[0]),
            where_learnt(_more(study, more, trials), study, *in_order),
            where_learnt(_below(study, found, trials), study, *in_order),
        ),
        checks=tuple(_check(study, results)),
        charts=tuple(_chart(study, pair, best) for best, pair in found.items()),
        tables=(_table(found, losses),),
        notes=(
            f"{count} fixed permutation{'s' if count > 1 else ''} of all pixels, the same for every seed, in training, "
            f"validation and test. {study.sizes.permutation_epochs} epochs. The best learning rate was chosen for pixels in "
            "order, and again for the first permutation.",
        ),
    )
    return where_learnt(made, study, in_order[1])


def p_value(study: Study, results: Mapping[str, Result]) -> float:
    """That the second model loses nothing, or half a point; the larger of both learning rates."""
    drops = [_drops(_found(study, study.models[1], results, best)) for best in (False, True)]
    return max(paired_p_value(drop, np.full_like(drop, 0.0 if drop.mean() > MARGIN else MARGIN)) for drop in drops)


def _permutations(study: Study) -> range:
    return range(1, study.sizes.permutations + 1)


def _arm(study: Study, model: Description, permutation: int) -> Arm:
    epochs = study.sizes.permutation_epochs
    tests = [study.steps(epoch) for epoch in range(max(1, epochs - LAST + 1), epochs + 1)]
    steps, every = study.steps(epochs), study.steps(1)
    return Arm(
        model,
        lambda seed, rate: study.trial(
            model, seed=seed, rate=rate, permutation=permutation, steps=steps, validate_every=every, test_at=tests
        ),
    )


def _found(study: Study, model: Description, results: Mapping[str, Result], best: bool) -> Found:
    """All permutations train at the rate that was best for the first one."""
    in_order = runs(study, _arm(study, model, 0), study.seeds, results, best=best)
    rate = (_arm(study, model, 1).tuned(study).rate if best else 0.01) or 0.01
    moved = []
    for number in _permutations(study):
        arm = _arm(study, model, number)
        moved.append(Runs(arm, rate, tuple(results[arm.make(seed, rate).key] for seed in study.seeds)))
    return in_order, moved


def _drops(found: Found) -> np.ndarray:
    """Accuracy in order minus the mean over permutations, by seed."""
    in_order, moved = found
    drops: np.ndarray = in_order.accuracies - np.mean([each.accuracies for each in moved], axis=0)
    return drops


def _loses(interval: Interval) -> Verdict:
    if interval.low > 0:
        return "supported"
    return "refuted" if interval.high <= 100 * MARGIN else "undecided"


def _finding(
    study: Study, name: str, claim: str, falsified: str, verdict: Verdict, interval: Interval, trials: int, sentence: str
) -> Finding:
    return Finding(
        id=f"{ID}.{name}",
        claim=claim,
        falsified_if=falsified,
        verdict=verdict,
        **interval._asdict(),
        unit="accuracy points",
        seeds=len(study.seeds),
        trials=trials,
        sentence=sentence,
    )


def _first(study: Study, losses: Mapping[bool, tuple[Interval, ...]], trials: int) -> Finding:
    name = title(study.models[0])
    said = [difference_of(pair[0], 100 * MARGIN) for pair in losses.values()]
    verdicts: list[Verdict] = [
        "supported" if each == "no difference" else "undecided" if each == "undecided" else "refuted" for each in said
    ]
    return _finding(
        study,
        "first",
        f"{name} does not use where pixels lie.",
        f"its loss is not within {100 * MARGIN:g} points",
        agreed(*verdicts),
        losses[False][0],
        trials,
        f"{name} loses {span(losses[False][0])} points (best learning rates: {span(losses[True][0])}).",
    )


def _more(study: Study, more: Mapping[bool, Interval], trials: int) -> Finding:
    first, second = (title(model) for model in study.models)
    return _finding(
        study,
        "difference",
        f"{second} loses more than {first}.",
        "the interval of the difference of the losses lies below 0, or within half a point",
        agreed(_loses(more[False]), _loses(more[True])),
        more[False],
        trials,
        f"{second} loses {span(more[False])} points more (best learning rates: {span(more[True])}).",
    )


def _below(study: Study, found: Mapping[bool, tuple[Found, ...]], trials: int) -> Finding:
    """Which one is better when places mean nothing."""
    first, second = (title(model) for model in study.models)
    apart = {}
    for best, pair in found.items():
        one, other = (np.mean([each.accuracies for each in moved], axis=0) for _, moved in pair)
        apart[best] = mean_interval(other - one).times(100)
    verdicts: list[Verdict] = [
        "supported" if each.high < 0 else "refuted" if each.low > 0 else "undecided" for each in apart.values()
    ]
    return _finding(
        study,
        "permuted",
        f"With pixels in another order {second} is less accurate than {first}.",
        "the interval of the difference lies above 0",
        agreed(*verdicts),
        apart[False],
        trials,
        f"With pixels in another order the accuracy of {second} minus that of {first} is {span(apart[False])} points (best "
        f"learning rates: {span(apart[True])}).",
    )


def _check(study: Study, results: Mapping[str, Result]) -> list[Check]:
    made = []
    for trial in exact.trials(study):
        numbers = results[trial.key].numbers
        if not numbers["applies"]:
            continue
        apart = float(numbers["largest"])
        made.append(
            Check(
                f"{title(study.models[0])}: with the rows of its first weights in the same new order, all losses are the same",
                apart <= EXACT,
                f"largest difference of {numbers['steps']} losses in double precision, relative: {apart:.1e}",
            )
        )
    return made


def _chart(study: Study, pair: tuple[Found, ...], best: bool) -> Chart:
    lines = []
    for in_order, moved in pair:
        name = in_order.arm.title
        for label, group in ((f"{name}, in order", [in_order]), (f"{name}, permuted", moved)):
            steps = group[0].results[0].numbers["validation"]["steps"]
            curves = np.array([[result.numbers["validation"]["accuracy"] for result in each.results] for each in group])
            means = [mean_interval(column) for column in curves.mean(axis=0).T]
            lines.append(band(label, tuple(step / study.steps(1) for step in steps), means, within=(0.0, 1.0)))
    return Chart(
        id="permuted-pixels" + ("-best-rate" if best else ""),
        kind="curves",
        title="Pixels in order and in another order" + (", best learning rates" if best else ""),
        x="epochs",
        y="validation accuracy",
        lines=tuple(lines),
    )


def _table(found: Mapping[bool, tuple[Found, ...]], losses: Mapping[bool, tuple[Interval, ...]]) -> Table:
    rows = []
    for best, pair in found.items():
        for number, (in_order, moved) in enumerate(pair):
            permuted = mean_interval(np.mean([each.accuracies for each in moved], axis=0))
            rows.append(
                (
                    in_order.arm.title,
                    f"{in_order.rate:g} and {moved[0].rate:g}" if best else "0.01",
                    f"{100 * in_order.mean.estimate:.1f}",
                    f"{100 * permuted.estimate:.1f}",
                    span(losses[best][number]),
                )
            )
    return Table(
        title="Test accuracy, per cent",
        columns=("model", "learning rate", "in order", "permuted", "loss [95 % interval]"),
        rows=tuple(rows),
    )
