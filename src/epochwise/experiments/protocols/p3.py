"""P3: does the number of parameters, or the number of MACs, say how accurate a model is?

Arms are the two models, a dense network with as many parameters as the second, and one with as many MACs. For the question's
own pair there are also a CNN with as many MACs as the MLP, and (with fewer seeds and epochs) one with as many parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

from epochwise.experiments.arms import Arm, Runs, agreed, difference, planned, runs, span, where_any_learnt
from epochwise.experiments.models import Description, Facts, ours, title
from epochwise.experiments.record import Chart, Experiment, Finding, Line, Table, Verdict
from epochwise.experiments.statistics import MARGIN, Interval, difference_of
from epochwise.experiments.study import Study
from epochwise.trials.trial import Result, Trial

ID = "P3"
TITLE = "Matched capacity"
LAST = 3
LARGE_SEEDS, LARGE_EPOCHS = 3, 5
"""Of the CNN with as many parameters as the MLP, which has 20 times the MACs of the question's."""

_MOST_UNITS = 4096


def plan(study: Study) -> list[Trial]:
    """All arms, with their learning rates."""
    large = _large(study)
    return [
        *planned(study, _arms(study).values(), study.seeds),
        *([large.make(seed, 0.01) for seed in _few(study)] if large else []),
    ]


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """Accuracy against parameters, MACs and seconds, and the arms with equal parameters against each other."""
    arms = _arms(study)
    found = {
        best: {role: runs(study, arm, study.seeds, results, best=best) for role, arm in arms.items()} for best in (False, True)
    }
    trials = len(plan(study))
    parameters, macs = (
        where_any_learnt(_pair(study, found, one, other, what, trials), study, found[True][one], found[True][other])
        for one, other, what in (("second", "same parameters", "parameters"), ("same MACs", "second", "MACs"))
    )
    second, same = arms["second"], arms["same parameters"]
    apart: dict[str, Verdict] = {"supported": "refuted", "refuted": "supported"}
    largest = _large(study)
    everywhere = dict(found[False])
    if largest is not None:
        everywhere["large"] = Runs(largest, 0.01, tuple(results[largest.make(seed, 0.01).key] for seed in _few(study)))
    return Experiment.of(
        parameters,
        id=ID,
        title=TITLE,
        claim="The number of parameters explains the accuracy.",
        falsified_if="two models with the same number of parameters differ: the interval of the difference leaves out 0, at "
        "learning rate 0.01 and at the best of each",
        verdict=apart.get(parameters.verdict, parameters.verdict),
        unit=f"accuracy points, {second.title} minus {same.title}",
        seeds=len(study.seeds),
        trials=trials,
        sentence=f"{parameters.sentence} {macs.sentence}",
        further=(parameters, macs),
        charts=tuple(_pareto(study, everywhere, kind) for kind in ("parameters", "MACs", "seconds")),
        tables=(_table(study, found, everywhere.get("large")),),
        notes=(
            f"All arms train {study.sizes.capacity_epochs} epochs with the same seeds; accuracies are means over the last "
            f"{min(LAST, study.sizes.capacity_epochs)}. Seconds are those of the engine on one core.",
            *(
                (f"{everywhere['large'].arm.title}: {LARGE_SEEDS} seeds and {LARGE_EPOCHS} epochs, learning rate 0.01.",)
                if "large" in everywhere
                else ()
            ),
        ),
    )


def p_value(study: Study, results: Mapping[str, Result]) -> float:
    """That the arms with the same number of parameters are alike, the larger of both learning rates."""
    found = []
    for best in (False, True):
        second, same = (
            runs(study, _arms(study)[role], study.seeds, results, best=best) for role in ("second", "same parameters")
        )
        found.append(difference(study, second, same, last=LAST).p_value)
    return max(found)


def matched(study: Study, to: Facts, kind: str) -> Description:
    """A dense network with about as many parameters (one hidden layer) or forward MACs (two alike) as something else."""
    rows, columns, channels = study.data.shape
    inputs, classes = rows * columns * channels, study.data.classes
    if kind == "parameters":
        aim, hidden = to.parameters, 1
        costs = {units: (inputs + 1) * units + (units + 1) * classes for units in range(1, _MOST_UNITS)}
    else:
        aim, hidden = to.forward_macs, 2
        costs = {units: inputs * units + units * units + units * classes for units in range(1, _MOST_UNITS)}
    units = min(costs, key=lambda count: abs(costs[count] - aim))
    known = {(4, 1): "mlp_4", (233, 2): "mlp_233"}.get((units, hidden))
    if known:
        return ours(known)
    layers = [["flatten"], *([["dense", units]] * hidden), ["classes"]]
    return {"name": f"MLP {'-'.join([str(units)] * hidden)}", "layers": layers}


def _arms(study: Study) -> dict[str, Arm]:
    """By what they are for."""
    first, second = study.models
    facts = study.facts(second)
    models = {
        "first": first,
        "second": second,
        "same parameters": matched(study, facts, "parameters"),
        "same MACs": matched(study, facts, "MACs"),
    }
    if study.of_the_question:
        models["first's MACs"] = ours("cnn_4_6")
    return {role: _arm(study, model, study.sizes.capacity_epochs) for role, model in models.items()}


def _arm(study: Study, model: Description, epochs: int) -> Arm:
    tests = [study.steps(epoch) for epoch in range(max(1, epochs - LAST + 1), epochs + 1)]
    steps, every = study.steps(epochs), study.steps(1)
    return Arm(
        model, lambda seed, rate: study.trial(model, seed=seed, rate=rate, steps=steps, validate_every=every, test_at=tests)
    )


def _large(study: Study) -> Arm | None:
    return _arm(study, ours("cnn_64_64"), LARGE_EPOCHS) if study.of_the_question and study.tier != "smoke" else None


def _few(study: Study) -> range:
    return study.seeds_of(LARGE_SEEDS)


def _pair(study: Study, found: Mapping[bool, Mapping[str, Runs]], one: str, other: str, what: str, trials: int) -> Finding:
    """Whether two arms with the same number of something differ; ``supported`` says that they do."""
    apart = {best: difference(study, arms[one], arms[other], last=LAST).interval for best, arms in found.items()}
    usual, tuned = apart[False], apart[True]
    arms = found[False]
    counts = [
        getattr(study.facts(arms[role].arm.model), {"parameters": "parameters", "MACs": "forward_macs"}[what])
        for role in (one, other)
    ]
    return Finding(
        id=f"{ID}.same-{what.lower()}",
        claim=f"With about the same number of {what} ({counts[0]:,} and {counts[1]:,}), {arms[one].arm.title} and "
        f"{arms[other].arm.title} differ in accuracy.",
        falsified_if=f"the whole interval of the difference is within {100 * MARGIN:g} points",
        verdict=agreed(_apart(usual), _apart(tuned)),
        **usual._asdict(),
        unit="accuracy points",
        seeds=len(study.seeds),
        trials=trials,
        sentence=f"With about as many {what}, the accuracy of {arms[one].arm.title} minus that of {arms[other].arm.title} is "
        f"{span(usual)} points (best learning rate of each: {span(tuned)}).",
    )


def _apart(interval: Interval) -> Verdict:
    said = difference_of(interval, 100 * MARGIN)
    return "refuted" if said == "no difference" else "undecided" if said == "undecided" else "supported"


def _pareto(study: Study, arms: Mapping[str, Runs], kind: str) -> Chart:
    units = {
        "parameters": ("parameters", "parameters"),
        "MACs": ("macs", "forward MACs per image"),
        "seconds": ("seconds", "seconds of training per epoch, one core"),
    }
    name, axis = units[kind]
    lines = []
    for each in arms.values():
        facts = study.facts(each.arm.model)
        x = {
            "parameters": float(facts.parameters),
            "MACs": float(facts.forward_macs),
            "seconds": each.seconds_per_step * study.steps(1),
        }[kind]
        mean = each.mean
        lines.append(
            Line(
                name=each.arm.title,
                x=(x,),
                y=(mean.estimate,),
                low=(max(0.0, mean.low),),
                high=(min(1.0, mean.high),),
                labels=(each.arm.title,),
            )
        )
    return Chart(
        id=f"accuracy-by-{name}",
        kind="points",
        title=f"Accuracy against {kind}",
        x=axis,
        y="test accuracy",
        logarithmic="x",
        lines=tuple(lines),
    )


def _table(study: Study, found: Mapping[bool, Mapping[str, Runs]], large: Runs | None) -> Table:
    rows = []
    for role, usual in found[False].items():
        best = found[True][role]
        rows.append((*_counts(study, usual), _percent(usual), f"{_percent(best)} at {best.rate:g}"))
    if large is not None:
        rows.append((*_counts(study, large), _percent(large), ""))
    return Table(
        title="Accuracy on test images, per cent",
        columns=("model", "parameters", "forward MACs", "seconds an epoch", "learning rate 0.01", "best learning rate"),
        rows=tuple(rows),
    )


def _counts(study: Study, each: Runs) -> tuple[str, str, str, str]:
    facts = study.facts(each.arm.model)
    seconds = each.seconds_per_step * study.steps(1)
    return title(each.arm.model), f"{facts.parameters:,}", f"{facts.forward_macs:,}", f"{seconds:.2f}"


def _percent(each: Runs) -> str:
    return each.mean.times(100).told(1)
