"""Arms of a protocol: the same training with one thing varied, at Keras's learning rate and at the arm's own best one.

A verdict at one learning rate may be about the rate. So each arm tries :data:`~epochwise.experiments.study.RATES` with one
seed on validation samples, and everything is judged twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from epochwise.experiments.models import Description, title
from epochwise.experiments.record import Experiment, Finding, Verdict
from epochwise.experiments.statistics import (
    Interval,
    hierarchical_bootstrap,
    mean_interval,
    paired_interval,
    paired_p_value,
    probability_above,
)
from epochwise.experiments.study import RATE, Study, Tuned, run_accuracy
from epochwise.experiments.training import unpacked
from epochwise.trials.trial import Result, Trial

Judged = TypeVar("Judged", Experiment, Finding)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        model: what is trained.
        make: gives the trial of a seed and a learning rate; it must validate.
        name: what charts and tables call it; by default the model's title.
    """

    model: Description
    make: Callable[[int, float], Trial]
    name: str = ""

    @property
    def title(self) -> str:
        """What charts and tables call it."""
        return self.name or title(self.model)

    def tuned(self, study: Study) -> Tuned:
        """How far the choice of its learning rate is."""
        return study.tuned(lambda rate: [self.make(seed, rate) for seed in study.tuning_seeds(moving=False)])


def planned(study: Study, arms: Iterable[Arm], seeds: Iterable[int]) -> list[Trial]:
    """All trials of some arms that can be named by now: Keras's rate, the other rates, and the best rate."""
    trials: dict[Trial, None] = {}
    seeds = list(seeds)
    for arm in arms:
        trials |= dict.fromkeys(arm.make(seed, RATE) for seed in seeds)
        found = arm.tuned(study)
        trials |= dict.fromkeys(found.trials)
        if found.rate is not None:
            trials |= dict.fromkeys(arm.make(seed, found.rate) for seed in seeds)
    return list(trials)


@dataclasses.dataclass(frozen=True)
class Runs:
    """Results of an arm at one learning rate, a seed each.

    Attributes:
        arm: which.
        rate: learning rate.
        results: in the order of the seeds.
    """

    arm: Arm
    rate: float
    results: tuple[Result, ...]

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy of each run on the test images, ``(seeds,)``, from 0 to 1."""
        return np.array([run_accuracy(result) for result in self.results])

    @property
    def mean(self) -> Interval:
        """Of the accuracies."""
        return mean_interval(self.accuracies)

    @property
    def seconds_per_step(self) -> float:
        """Median over stretches of all runs, without evaluations."""
        steps = [np.diff([0, *result.numbers["validation"]["steps"]]) for result in self.results]
        taken = [np.diff([0.0, *result.measured["seconds"]]) for result in self.results]
        return float(np.median(np.concatenate([each / count for each, count in zip(taken, steps, strict=True)])))


def runs(study: Study, arm: Arm, seeds: Iterable[int], results: Mapping[str, Result], *, best: bool = False) -> Runs:
    """Results of an arm, at Keras's learning rate or at its best one."""
    rate = (arm.tuned(study).rate if best else RATE) or RATE
    return Runs(arm, rate, tuple(results[arm.make(seed, rate).key] for seed in seeds))


@dataclasses.dataclass(frozen=True)
class Difference:
    """Accuracy of one arm minus that of another, in points (hundredths).

    Attributes:
        interval: the mean over seeds, with the paired t interval. It decides.
        bootstrap: over seeds and test images.
        above: how often the first is above the second.
        p_value: of the paired t test.
    """

    interval: Interval
    bootstrap: Interval
    above: Interval
    p_value: float


def difference(study: Study, first: Runs, second: Runs, last: int = 3) -> Difference:
    """First minus second, over the same seeds.

    Args:
        study: says how often a bootstrap is repeated.
        first: an arm.
        second: another.
        last: how many of the last tests are averaged.
    """
    one, other = ([run_accuracy(result, last) for result in each.results] for each in (first, second))
    times = min(last, *(len(result.numbers["test"]["steps"]) for result in (*first.results, *second.results)))
    bootstrap = hierarchical_bootstrap(_counts(first.results, times), _counts(second.results, times), study.sizes.resamples)
    return Difference(
        interval=paired_interval(one, other).times(100),
        bootstrap=bootstrap.times(100 / times),
        above=probability_above(one, other),
        p_value=paired_p_value(one, other),
    )


def _counts(results: Sequence[Result], last: int) -> np.ndarray:
    """How often each test image was right in the last tests: ``(seeds, images)``."""
    images = int(results[0].numbers["test"]["images"])
    return np.stack([unpacked(result.arrays["correct"][-last:], images).sum(axis=0) for result in results])


def where_learnt(record: Judged, study: Study, *compared: Runs) -> Judged:
    """A finding as it is if all of these learnt something; else nothing is concluded, and it says why."""
    return doubted(record, [each.arm.title for each in compared if each.mean.low <= study.enough])


def where_any_learnt(record: Judged, study: Study, *compared: Runs) -> Judged:
    """The same where one that learnt something is enough: a better model may be compared with one that guesses."""
    names = [each.arm.title for each in compared if each.mean.low <= study.enough]
    return doubted(record, names if len(names) == len(compared) else [])


def doubted(record: Judged, names: Iterable[str]) -> Judged:
    """A finding without its verdict where models of these names learnt nothing; as it is where there are none."""
    named = list(dict.fromkeys(names))
    if not named:
        return record
    said = f"{record.sentence} {' and '.join(named)} did not learn enough for this to mean anything."
    return msgspec.structs.replace(record, verdict="not measured", sentence=said)


def agreed(usual: Verdict, best: Verdict) -> Verdict:
    """The verdict of both learning rates; undecided where they differ."""
    return usual if usual == best else "undecided"


def span(interval: Interval, digits: int = 1) -> str:
    """``+1.2 [0.3, 2.1]``."""
    return interval.told(digits, signed=True)
