"""P1: after the same number of epochs, which of the two models is more accurate?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from epochwise.experiments.arms import Arm, Difference, Runs, agreed, difference, planned, runs, span, where_any_learnt
from epochwise.experiments.record import Chart, Experiment, Finding, Table, Verdict, band
from epochwise.experiments.statistics import MARGIN, Interval, mean_interval, paired_interval, paired_p_value
from epochwise.experiments.study import Study, final_validation
from epochwise.trials.trial import Result, Trial

ID = "P1"
TITLE = "The same number of epochs"
CHECKPOINTS = (1, 2, 5, 10, 20, 30)
"""Epochs after which the two are compared, as far as the tier goes."""
EVERY = 250
"""Steps between validations."""
LAST = 3
"""The accuracy of a run is the mean over the ends of so many last epochs."""

_MARGIN = 100 * MARGIN


def arms(study: Study) -> tuple[Arm, Arm]:
    """The two models, in the order of the study. P2 judges the same trials."""

    def arm(number: int) -> Arm:
        model = study.models[number]
        steps = study.steps(study.sizes.baseline_epochs)
        tests = [study.steps(epoch) for epoch in _tested(study)]
        return Arm(
            model,
            lambda seed, rate: study.trial(model, seed=seed, rate=rate, steps=steps, validate_every=EVERY, test_at=tests),
        )

    return arm(0), arm(1)


def seeds(study: Study) -> range:
    """Seeds of P1 and P2."""
    return study.seeds_of(study.sizes.baseline_seeds)


def plan(study: Study) -> list[Trial]:
    """Both models, all seeds, and the learning rates."""
    return planned(study, arms(study), seeds(study))


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """The paired difference at the end, and at each checkpoint."""
    first, second = arms(study)
    found: dict[bool, tuple[Runs, Runs]] = {
        best: (runs(study, second, seeds(study), results, best=best), runs(study, first, seeds(study), results, best=best))
        for best in (False, True)
    }
    differences = {best: difference(study, *pair, last=LAST) for best, pair in found.items()}
    epochs = study.sizes.baseline_epochs
    usual, tuned = differences[False], differences[True]
    verdict = agreed(_verdict(usual.interval), _verdict(tuned.interval))
    trials = len(plan(study))
    name = f"{second.title} minus {first.title}"
    count = len(seeds(study))
    made = Experiment(
        id=ID,
        title=TITLE,
        claim=f"{second.title} is more accurate than {first.title} after {epochs} epochs.",
        falsified_if=f"the interval lies below +{_MARGIN:g} points at learning rate 0.01 and at the best of each",
        verdict=verdict,
        **usual.interval._asdict(),
        unit=f"accuracy points, {name}",
        seeds=count,
        trials=trials,
        sentence=f"After {epochs} epochs the accuracy of {second.title} minus that of {first.title} is {span(usual.interval)} "
        f"points at learning rate 0.01, and {span(tuned.interval)} with the best rate of each ({_rates(found[True])}).",
        further=(
            where_any_learnt(_further(study, "best-rate", found[True], tuned, trials), study, *found[True]),
            *(where_any_learnt(each, study, *found[False]) for each in _early(study, found[False], trials)),
        ),
        charts=tuple(_curves(study, found[best], best) for best in (False, True)),
        tables=(_summary(found, differences), _by_epoch(study, found)),
        notes=(
            f"The accuracy of a run is the mean over the ends of its last {min(LAST, epochs)} epochs, on the test images. "
            "The bootstrap draws seeds and test images; with few seeds it is too narrow, so the t interval decides.",
            "Learning rates were chosen on validation images with one seed: "
            + "; ".join(_tried(study, arm, results) for arm in (first, second))
            + "."
            + _at_the_edge(study, found[True]),
        ),
    )
    return where_any_learnt(made, study, *found[True])


def p_value(study: Study, results: Mapping[str, Result]) -> float:
    """Of what the verdict rejects, the larger of both learning rates: no gain at all, or a gain of the margin."""
    first, second = arms(study)
    found = []
    for best in (False, True):
        pair = [runs(study, arm, seeds(study), results, best=best).accuracies for arm in (second, first)]
        gained = paired_interval(*pair).estimate > MARGIN
        found.append(paired_p_value(pair[0], pair[1] + (0.0 if gained else MARGIN)))
    return max(found)


def _tested(study: Study) -> list[int]:
    """Epochs after which the test images are looked at."""
    epochs = study.sizes.baseline_epochs
    last = range(max(1, epochs - LAST + 1), epochs + 1)
    return sorted({*(epoch for epoch in CHECKPOINTS if epoch <= epochs), *last})


def _verdict(interval: Interval) -> Verdict:
    if interval.low > 0 and interval.estimate > _MARGIN:
        return "supported"
    return "refuted" if interval.high < _MARGIN else "undecided"


def _rates(pair: tuple[Runs, Runs]) -> str:
    return " and ".join(f"{each.rate:g} for {each.arm.title}" for each in reversed(pair))


def _tried(study: Study, arm: Arm, results: Mapping[str, Result]) -> str:
    found = {rate: results[arm.make(study.first_seed, rate).key] for rate in arm.tuned(study).rates}
    figures = (f"{rate:g} gave {100 * final_validation(result):.1f}" for rate, result in found.items())
    return f"{arm.title}: {', '.join(figures)} per cent"


def _at_the_edge(study: Study, pair: tuple[Runs, Runs]) -> str:
    largest = [each.arm.title for each in reversed(pair) if each.rate == max(each.arm.tuned(study).rates)]
    return f" The best one is the largest that was tried for {' and '.join(largest)}." if largest else ""


def _further(study: Study, name: str, pair: tuple[Runs, Runs], found: Difference, trials: int) -> Finding:
    second, first = pair
    return Finding(
        id=f"{ID}.{name}",
        claim=f"With the best learning rate of each, {second.arm.title} is more accurate than {first.arm.title}.",
        falsified_if=f"the interval of the difference lies below +{_MARGIN:g} points",
        verdict=_verdict(found.interval),
        **found.interval._asdict(),
        unit="accuracy points",
        seeds=len(second.results),
        trials=trials,
        sentence=f"With learning rates {_rates(pair)}: {span(found.interval)} points.",
    )


def _early(study: Study, pair: tuple[Runs, Runs], trials: int) -> tuple[Finding, ...]:
    """The difference after the first epoch."""
    interval = _at(pair, 0)
    second, first = pair
    verdict: Verdict = "supported" if interval.high < 0 else "refuted" if interval.low > 0 else "undecided"
    return (
        Finding(
            id=f"{ID}.first-epoch",
            claim=f"After the first epoch {second.arm.title} is behind {first.arm.title}.",
            falsified_if="the interval of the difference lies above 0",
            verdict=verdict,
            **interval._asdict(),
            unit="accuracy points",
            seeds=len(second.results),
            trials=trials,
            sentence=f"After one epoch: {span(interval)} points at learning rate 0.01.",
        ),
    )


def _at(pair: tuple[Runs, Runs], place: int) -> Interval:
    """The difference at one of the tested epochs."""
    second, first = ([result.numbers["test"]["accuracy"][place] for result in each.results] for each in pair)
    return paired_interval(second, first).times(100)


def _by_epoch(study: Study, found: Mapping[bool, tuple[Runs, Runs]]) -> Table:
    rows = []
    for place, epoch in enumerate(_tested(study)):
        if epoch in CHECKPOINTS or epoch == study.sizes.baseline_epochs:
            rows.append((str(epoch), span(_at(found[False], place)), span(_at(found[True], place))))
    second, first = found[False]
    return Table(
        title=f"Accuracy points, {second.arm.title} minus {first.arm.title}, after so many epochs",
        columns=("epochs", "learning rate 0.01", "best rate of each"),
        rows=tuple(rows),
    )


def _summary(found: Mapping[bool, tuple[Runs, Runs]], differences: Mapping[bool, Difference]) -> Table:
    rows = []
    for best, (second, first) in found.items():
        for each in (first, second):
            spread = 100 * float(np.std(each.accuracies, ddof=1)) if len(each.results) > 1 else 0.0
            rows.append((each.arm.title, f"{each.rate:g}", f"{100 * each.mean.estimate:.2f}", f"{spread:.2f}", "", ""))
        found_here = differences[best]
        above = found_here.above
        rows.append(
            (
                "difference",
                "best" if best else "0.01",
                span(found_here.interval, 2),
                "",
                span(found_here.bootstrap, 2),
                above.told(2),
            )
        )
    return Table(
        title="Test accuracy, per cent",
        columns=(
            "",
            "learning rate",
            "mean [95 % interval]",
            "spread over seeds",
            "over seeds and images",
            "P(second > first)",
        ),
        rows=tuple(rows),
    )


def _curves(study: Study, pair: tuple[Runs, Runs], best: bool) -> Chart:
    per_epoch = study.steps(1)
    lines = []
    for each in reversed(pair):
        steps = each.results[0].numbers["validation"]["steps"]
        means = [
            mean_interval([result.numbers["validation"]["accuracy"][place] for result in each.results])
            for place in range(len(steps))
        ]
        lines.append(
            band(f"{each.arm.title}, rate {each.rate:g}", tuple(step / per_epoch for step in steps), means, within=(0.0, 1.0))
        )
    return Chart(
        id="learning-curves-best-rate" if best else "learning-curves",
        kind="curves",
        title="Accuracy on validation images" + (", best learning rate of each" if best else ""),
        x="epochs",
        y="validation accuracy",
        lines=tuple(lines),
    )
