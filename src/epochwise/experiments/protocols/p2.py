"""P2: at the same cost, which of the two models is more accurate? Judged on the trials of P1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from epochwise.experiments.arms import Runs, agreed, runs, span, where_any_learnt, where_learnt
from epochwise.experiments.protocols import p1
from epochwise.experiments.record import Chart, Experiment, Finding, Line, Table, Verdict
from epochwise.experiments.statistics import Interval, Ratio, paired_interval, ratio_interval
from epochwise.experiments.study import BATCH, Study
from epochwise.trials.trial import Result, Trial

ID = "P2"
TITLE = "The same cost"
THRESHOLDS = (0.80, 0.83, 0.85, 0.87)
"""Validation accuracies to be reached, on Fashion-MNIST."""
SHARES = (0.92, 0.95, 0.975, 1.0)
"""On other data: shares of the lower of the two accuracies at the end of P1."""
IN_A_ROW = 2
"""Evaluations that must be at the threshold."""

Pair = tuple[Runs, Runs]


def plan(study: Study) -> list[Trial]:
    """The trials of P1."""
    return p1.plan(study)


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """Ratios of the costs of reaching an accuracy, and accuracies at equal seconds."""
    first, second = p1.arms(study)
    seeds = p1.seeds(study)
    pairs: dict[bool, Pair] = {
        best: (runs(study, second, seeds, results, best=best), runs(study, first, seeds, results, best=best))
        for best in (False, True)
    }
    thresholds = _thresholds(study, pairs[False])
    ratios = {best: [_ratios(study, pair, level) for level in thresholds] for best, pair in pairs.items()}
    verdicts = {best: _verdict([each["seconds"] for each in found]) for best, found in ratios.items()}
    equal = {best: _at_equal_seconds(pair) for best, pair in pairs.items()}
    verdict = agreed(verdicts[False], verdicts[True])
    place = _telling([each["seconds"] for each in ratios[True]])
    shown = ratios[True][place]["seconds"].interval
    names = f"{second.title} over {first.title}"
    trials = len(plan(study))
    made = Experiment(
        id=ID,
        title=TITLE,
        claim=f"The extra time of {second.title} is repaid: it reaches an accuracy sooner.",
        falsified_if=f"{first.title} is faster to every threshold, with the whole interval of the ratio above 1, at learning "
        "rate 0.01 and at the best of each",
        verdict=verdict,
        **shown._asdict(),
        unit=f"ratio of seconds to {100 * thresholds[place]:.1f} per cent, {names}",
        seeds=len(seeds),
        trials=trials,
        sentence=_sentence(pairs[True], thresholds[place], ratios[True][place], equal[True]),
        further=tuple(
            where_any_learnt(_further(pair, equal[best], best, trials), study, *pair) for best, pair in pairs.items()
        ),
        charts=tuple(_chart(study, pairs[best], thresholds, best) for best in (False, True)),
        tables=tuple(_table(pairs[best], thresholds, ratios[best], best) for best in (False, True)),
        notes=(
            "Seconds are those of the engine on one core, without evaluations: the median over all stretches of an arm. "
            + "; ".join(f"{each.arm.title}: {_epoch_seconds(study, each):.2f} s an epoch" for each in reversed(pairs[False]))
            + ". The ratio of MACs does not depend on what trains.",
            f"A threshold counts as reached at the first of {IN_A_ROW} validations in a row that have it; there is one every "
            f"{p1.EVERY} steps. Where a run did not get there, the ratio has only a bound, and the interval is open.",
        ),
    )
    return where_learnt(made, study, *pairs[False], *pairs[True])


def _thresholds(study: Study, pair: Pair) -> tuple[float, ...]:
    if study.data.source == "fashion-mnist":
        return THRESHOLDS
    end = min(float(each.accuracies.mean()) for each in pair)
    return tuple(round(share * end, 3) for share in SHARES)


def reached(result: Result, level: float) -> int | None:
    """Steps until the first of two validations in a row at the level; ``None`` if that never happened."""
    validation = result.numbers["validation"]
    there = np.array(validation["accuracy"]) >= level
    for place in range(len(there) - IN_A_ROW + 1):
        if there[place : place + IN_A_ROW].all():
            return int(validation["steps"][place])
    return None


def _ratios(study: Study, pair: Pair, level: float) -> dict[str, Ratio]:
    """Second over first: in seconds, training MACs and samples."""
    costs = {
        "seconds": [each.seconds_per_step for each in pair],
        "MACs": [float(study.facts(each.arm.model).training_macs) * BATCH for each in pair],
        "samples": [float(BATCH)] * 2,
    }
    steps = [[reached(result, level) for result in each.results] for each in pair]
    limits = [float(each.results[0].numbers["validation"]["steps"][-1]) for each in pair]
    found = {}
    for unit, per_step in costs.items():
        one, other = (
            [None if step is None else step * cost for step in arm] for arm, cost in zip(steps, per_step, strict=True)
        )
        found[unit] = ratio_interval(one, other, limits[0] * per_step[0], limits[1] * per_step[1])
    return found


def _verdict(ratios: Sequence[Ratio]) -> Verdict:
    """Of the thresholds that say anything: all slower refutes, the highest faster supports."""
    telling = [each.interval for each in ratios if each.first_reached or each.second_reached]
    if not telling:
        return "undecided"
    if all(interval.low > 1 for interval in telling):
        return "refuted"
    return "supported" if telling[-1].high < 1 else "undecided"


def _telling(ratios: Sequence[Ratio]) -> int:
    """The highest threshold that all runs of both arms reached; else the lowest one."""
    return max((place for place, each in enumerate(ratios) if each.first_reached == each.second_reached == 1), default=0)


def _at_equal_seconds(pair: Pair) -> Interval:
    """Validation accuracy, second minus first in points, when the quicker arm has done all its epochs."""
    curves = []
    ends = [each.seconds_per_step * each.results[0].numbers["validation"]["steps"][-1] for each in pair]
    for each in pair:
        seconds = each.seconds_per_step * np.array(each.results[0].numbers["validation"]["steps"])
        curves.append(
            [float(np.interp(min(ends), seconds, result.numbers["validation"]["accuracy"])) for result in each.results]
        )
    return paired_interval(*curves).times(100)


def _sentence(pair: Pair, level: float, ratios: Mapping[str, Ratio], equal: Interval) -> str:
    second, first = (each.arm.title for each in pair)
    seconds, macs = ratios["seconds"], ratios["MACs"].interval
    if math.isfinite(seconds.interval.estimate):
        began = (
            f"To reach {100 * level:.1f} per cent {second} needs {_times(seconds.interval)} times the seconds of {first}, and "
            f"{_times(macs)} times the MACs"
        )
    else:
        began = (
            f"{100 * level:.1f} per cent was reached by {100 * seconds.first_reached:.0f} per cent of the runs of {second} and "
            f"{100 * seconds.second_reached:.0f} per cent of those of {first}"
        )
    after = f"After equal seconds its accuracy minus that of {first} is {span(equal)} points."
    return f"{began} (best learning rate of each). {after}"


def _further(pair: Pair, equal: Interval, best: bool, trials: int) -> Finding:
    second, first = pair
    verdict: Verdict = "supported" if equal.low > 0 else "refuted" if equal.high < 0 else "undecided"
    return Finding(
        id=f"{ID}.equal-seconds" + ("-best-rate" if best else ""),
        claim=f"After equal seconds {second.arm.title} is more accurate than {first.arm.title}"
        + (", with the best learning rate of each." if best else ", at learning rate 0.01."),
        falsified_if="the interval of the difference lies below 0",
        verdict=verdict,
        **equal._asdict(),
        unit="accuracy points on validation images",
        seeds=len(second.results),
        trials=trials,
        sentence=f"{span(equal)} points when the quicker of the two has done all its epochs.",
    )


def _table(pair: Pair, thresholds: Sequence[float], ratios: Sequence[Mapping[str, Ratio]], best: bool) -> Table:
    second, first = pair
    return Table(
        title=f"Cost of reaching an accuracy, {second.arm.title} over {first.arm.title}"
        + (f" (learning rates {second.rate:g} and {first.rate:g})" if best else " (learning rate 0.01)"),
        columns=("validation accuracy", "seconds", "training MACs", "samples", "runs that got there"),
        rows=tuple(
            (
                f"{100 * level:.1f} %",
                *(_times(each[unit].interval) for unit in ("seconds", "MACs", "samples")),
                f"{100 * each['seconds'].first_reached:.0f} % and {100 * each['seconds'].second_reached:.0f} %",
            )
            for level, each in zip(thresholds, ratios, strict=True)
        ),
    )


def _chart(study: Study, pair: Pair, thresholds: Sequence[float], best: bool) -> Chart:
    lines = []
    for each in reversed(pair):
        taken = [[reached(result, level) for result in each.results] for level in thresholds]
        there = [
            (100 * level, [step * each.seconds_per_step for step in steps if step is not None])
            for level, steps in zip(thresholds, taken, strict=True)
            if all(step is not None for step in steps)
        ]
        if there:
            lines.append(
                Line(
                    name=f"{each.arm.title}, rate {each.rate:g}",
                    x=tuple(level for level, _ in there),
                    y=tuple(float(np.mean(seconds)) for _, seconds in there),
                    low=tuple(min(seconds) for _, seconds in there),
                    high=tuple(max(seconds) for _, seconds in there),
                )
            )
    return Chart(
        id="time-to-accuracy" + ("-best-rate" if best else ""),
        kind="curves",
        title="Seconds until an accuracy is reached (bands: quickest and slowest seed)"
        + (", best learning rate of each" if best else ""),
        x="validation accuracy, per cent",
        y="seconds of training on one core",
        logarithmic="y",
        lines=tuple(lines),
    )


def _epoch_seconds(study: Study, each: Runs) -> float:
    return each.seconds_per_step * study.steps(1)


def _times(interval: Interval) -> str:
    """``2.5 [2.1, 3.0]``, with ends that the data do not bound left open."""
    middle = f"{interval.estimate:.2f}" if math.isfinite(interval.estimate) else "?"
    low = f"{interval.low:.2f}" if interval.low > 0 else "0"
    high = f"{interval.high:.2f}" if math.isfinite(interval.high) else "no end"
    return f"{middle} [{low}, {high}]"
