"""P4, the ingredients of a convolution: locality, and sharing of weights between places.

The same map from three kinds of layers of the same widths: dense ones, locally connected ones (each place has its own weights
for its neighbourhood), and convolutions (all places have the same). The dense one is d'Ascoli's map of the CNN (arXiv
1906.06766); it is counted in every tier, and trained in the full one alone, since a step of it takes some thirty times as long.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from epochwise.experiments.models import ours, title
from epochwise.experiments.record import Chart, Check, Experiment, Finding, Table, Verdict, band
from epochwise.experiments.statistics import MARGIN, Interval, difference_of, mean_interval, paired_interval, paired_p_value
from epochwise.experiments.study import RATE, Study, Tuned
from epochwise.trials.trial import Result, Trial

ID = "P4"
TITLE = "What a convolution is made of"
SHARED, LOCAL, DENSE = "cnn", "lcn", "efcn"
FACTS = {SHARED: (3_330, 238_736), LOCAL: (250_530, 238_736), DENSE: (11_111_010, 11_099_216)}
"""Parameters and forward MACs on images of 28 x 28 with one channel and ten classes."""

_VALIDATIONS = 3
_PARTS = 10
_SECONDS_PER_STEP = {SHARED: 0.0005, LOCAL: 0.011, DENSE: 0.032}
_SECONDS_PER_TEST = {SHARED: 1e-5, LOCAL: 1e-4, DENSE: 3e-4}
_DENSE_SAMPLES = 10_000


def plan(study: Study) -> list[Trial]:
    """Learning rates with the most images; then convolutions and locally connected layers with each number of images."""
    trials: dict[Trial, None] = {}
    for name in (SHARED, LOCAL):
        found = _tuned(study, name)
        trials |= dict.fromkeys(found.trials)
        for rate in {rate for rate in (RATE, found.rate) if rate is not None}:
            trials |= dict.fromkeys(_trial(study, name, count, seed, rate) for count in sizes(study) for seed in study.seeds)
    if _trains_dense(study):
        trials[_dense(study)] = None
    return list(trials)


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """Shared minus local, by number of images; decided where images are fewest."""
    usual, tuned = ({name: _accuracies(study, name, results, best=best) for name in (SHARED, LOCAL)} for best in (False, True))
    differences = {
        best: [paired_interval(*columns) for columns in zip(found[SHARED].T, found[LOCAL].T, strict=True)]
        for best, found in ((False, usual), (True, tuned))
    }
    fewest, seeds = sizes(study)[0], len(study.seeds)
    decisive = differences[True][0]
    verdicts = {_verdict(each[0]) for each in differences.values()}
    rates = {name: _tuned(study, name).rate or RATE for name in (SHARED, LOCAL)}
    return Experiment(
        id=ID,
        title=TITLE,
        claim=f"Sharing weights between places is what helps: with {fewest:,} images the CNN is more accurate than the same "
        "network without sharing.",
        falsified_if=f"the interval of the difference lies below +{100 * MARGIN:g} points, with {fewest:,} images",
        verdict=verdicts.pop() if len(verdicts) == 1 else "undecided",
        **decisive.times(100)._asdict(),
        unit="accuracy points, shared minus local, each at its best learning rate",
        seeds=seeds,
        trials=len(plan(study)),
        sentence=f"With {fewest:,} images sharing is worth {_points(decisive)} points at the best learning rate of each "
        f"({rates[SHARED]:g} and {rates[LOCAL]:g}), and {_points(differences[False][0])} at {RATE:g}.",
        further=(_shrinks(study, tuned),) if len(sizes(study)) > 1 else (),
        checks=_checks(study),
        charts=(_chart(study, tuned),),
        tables=(_costs(study), _table(study, usual, tuned, differences)),
        notes=(
            f"{study.sizes.ladder_steps:,} steps of 32 images whatever their number. Weights without sharing are drawn with "
            "the scale of the shared ones, so that the scale does not differ.",
            _dense_note(study, results),
        ),
    )


def p_value(study: Study, results: Mapping[str, Result]) -> float:
    """Of the hypothesis that sharing makes no difference with the fewest images, each at its best learning rate."""
    shared, local = (_accuracies(study, name, results, best=True)[:, 0] for name in (SHARED, LOCAL))
    return paired_p_value(shared, local)


def sizes(study: Study) -> list[int]:
    """Numbers of images; too large ones stand for all."""
    return sorted({min(count, study.data.training) for count in study.sizes.ladder_samples})


def _trial(study: Study, name: str, count: int, seed: int, rate: float) -> Trial:
    steps = study.sizes.ladder_steps
    part = max(1, steps // _PARTS)
    trial = study.trial(
        ours(name),
        seed=seed,
        steps=steps,
        rate=rate,
        samples=None if count == study.data.training else count,
        validate_every=max(1, steps // _VALIDATIONS),
        test_at=[steps - 2 * part, steps - part, steps],
        test_images=study.sizes.ladder_tests,
    )
    tested = _VALIDATIONS * study.data.validation + 3 * (study.sizes.ladder_tests or study.data.tests)
    return dataclasses.replace(trial, cost=1 + steps * _SECONDS_PER_STEP[name] + tested * _SECONDS_PER_TEST[name])


def _trains_dense(study: Study) -> bool:
    return study.tier == "full"


def _dense(study: Study) -> Trial:
    return _trial(study, DENSE, min(_DENSE_SAMPLES, study.data.training), study.first_seed, RATE)


def _tuned(study: Study, name: str) -> Tuned:
    return study.tuned(partial(_tuning, study, name))


def _tuning(study: Study, name: str, rate: float) -> list[Trial]:
    """With the most images."""
    return [_trial(study, name, sizes(study)[-1], seed, rate) for seed in study.tuning_seeds(moving=False)]


def _accuracies(study: Study, name: str, results: Mapping[str, Result], *, best: bool) -> np.ndarray:
    """Means of the last three tests: ``(seeds, sizes)``."""
    rate = (_tuned(study, name).rate if best else RATE) or RATE
    return np.array(
        [
            [np.mean(results[_trial(study, name, count, seed, rate).key].numbers["test"]["accuracy"]) for count in sizes(study)]
            for seed in study.seeds
        ]
    )


def _verdict(difference: Interval) -> Verdict:
    if difference.low > MARGIN:
        return "supported"
    return "refuted" if difference.high < MARGIN else "undecided"


def _shrinks(study: Study, found: Mapping[str, np.ndarray]) -> Finding:
    """Whether the gap with the fewest images is larger than that with the most."""
    gaps = found[SHARED] - found[LOCAL]
    change = paired_interval(gaps[:, 0], gaps[:, -1])
    said = difference_of(change)
    verdict: Verdict = "supported" if said == "above" else "undecided" if said == "undecided" else "refuted"
    return Finding(
        id=f"{ID}.shrinks",
        claim="Sharing weights helps less, the more images there are.",
        falsified_if="the gap with the most images is not smaller",
        verdict=verdict,
        **change.times(100)._asdict(),
        unit="accuracy points, gap with the fewest minus gap with the most",
        seeds=len(study.seeds),
        trials=2 * len(study.seeds) * len(sizes(study)),
        sentence=f"The gap changes by {_points(change)} points between {sizes(study)[-1]:,} and {sizes(study)[0]:,} images.",
    )


def _checks(study: Study) -> tuple[Check, ...]:
    if study.data.shape != (28, 28, 1) or study.data.classes != 10:  # noqa: PLR2004 - what FACTS are for
        return ()
    made = []
    for name, (parameters, macs) in FACTS.items():
        facts = study.facts(ours(name))
        passed = (facts.parameters, facts.forward_macs) == (parameters, macs)
        detail = f"{facts.parameters:,} and {facts.forward_macs:,}"
        made.append(Check(f"{title(ours(name))}: {parameters:,} parameters, {macs:,} MACs forward", passed, detail))
    return tuple(made)


def _chart(study: Study, found: Mapping[str, np.ndarray]) -> Chart:
    lines = []
    for name, values in found.items():
        intervals = [mean_interval(column) for column in values.T]
        lines.append(band(title(ours(name)), tuple(float(count) for count in sizes(study)), intervals, within=(0.0, 1.0)))
    return Chart(
        id="ladder",
        kind="curves",
        title="With and without sharing weights, by number of images",
        x="images in training",
        y="test accuracy",
        logarithmic="x",
        lines=tuple(lines),
    )


def _costs(study: Study) -> Table:
    base = study.facts(ours(SHARED))
    rows = []
    for name in (SHARED, LOCAL, DENSE):
        facts = study.facts(ours(name))
        times = f"{facts.parameters / base.parameters:,.0f}", f"{facts.forward_macs / base.forward_macs:,.0f}"
        rows.append((title(ours(name)), f"{facts.parameters:,}", f"{facts.forward_macs:,}", *times))
    columns = ("model", "parameters", "MACs forward", "parameters, times", "MACs, times")
    return Table(title="The same map from three kinds of layers", columns=columns, rows=tuple(rows))


def _table(
    study: Study,
    usual: Mapping[str, np.ndarray],
    tuned: Mapping[str, np.ndarray],
    differences: Mapping[bool, Sequence[Interval]],
) -> Table:
    rows = []
    for best, found in ((False, usual), (True, tuned)):
        for number, count in enumerate(sizes(study)):
            means = [_percent(mean_interval(found[name][:, number])) for name in (SHARED, LOCAL)]
            rows.append((f"{count:,}", "best" if best else f"{RATE:g}", *means, _points(differences[best][number])))
    columns = ("images", "learning rate", "shared", "local", "difference")
    return Table(title="Test accuracy, per cent", columns=columns, rows=tuple(rows))


def _dense_note(study: Study, results: Mapping[str, Result]) -> str:
    if not _trains_dense(study):
        return "The dense layers in the CNN's place are counted only; the full tier trains them once."
    accuracy = np.mean(results[_dense(study).key].numbers["test"]["accuracy"])
    return (
        f"The dense layers in the CNN's place, trained once with {_DENSE_SAMPLES:,} images at learning rate {RATE:g}, reach "
        f"{100 * accuracy:.1f} per cent."
    )


def _points(interval: Interval) -> str:
    return interval.times(100).told(1, signed=True)


def _percent(interval: Interval) -> str:
    return interval.times(100).told(1)
