"""What a comparison's report says, as rows of text and numbers, before anyone decides how they look.

The terminal and the page both draw these, so that they cannot disagree. Each row has the help that explains it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from epochwise.explaining.explanation import (
    Cause,
    Comparison,
    Explanation,
    FactorRatio,
    ModelExplanation,
    Part,
    PartDifference,
)
from epochwise.measuring.measurement import EpochEnd
from epochwise.reporting.figures import NOTHING, Unit, digits, exact_text, interval_text, ratio_text, share_text, unit_for

FACTORS = {
    "parameters": "how many weights there are",
    "reuse": "how often each is used in an epoch",
    "memory": "bytes that take longer than FLOPs",
    "kernels": "how far kernels are from their best",
    "waiting": "time in which no kernel runs",
}
FACTOR_HELP = {
    "parameters": "All weights of the second model over those of the first.",
    "reuse": "FLOPs of an epoch over the number of weights. Parameters times reuse is the arithmetic: 2 FLOPs for each training"
    " multiply-accumulate.",
    "memory": "The best possible time (the roofline: for each layer the longer of FLOPs at peak and bytes at the measured"
    " bandwidth) over the time of the arithmetic alone.",
    "kernels": "The time in which at least one kernel runs, over the best possible time.",
    "waiting": "The time of the epoch over the time in which at least one kernel runs: the rest is dispatch, Python, input and"
    " callbacks.",
}
CAUSES = {
    "arithmetic": "the MACs at this machine's peak",
    "memory traffic": "bytes that take longer than FLOPs",
    "kernel path": "kernels beyond the best possible",
    "optimizer sweep": "every step goes through all weights",
    "lowering": "one operation as a great many kernels",
    "threads": "they cost more than they help",
    "denormals": "numbers so small that they are slow",
    "number of steps": "batches smaller than usual",
    "device transfer": "copies between memory and device",
    "per-step overhead": "no kernel runs: dispatch, Python",
    "kernel path or per-step overhead": "not told apart: no profile",
    "input pipeline": "the loop waits for a batch",
    "callbacks and validation": "what the user has fit do beside",
    "turn between epochs": "last step to next epoch's first",
    "unattributed": "kernels of no layer that is known",
}
JOINED = " x "
REST = "other parts"
UNTESTED = "not tested"


class Fact(NamedTuple):
    """One row of figures: of both models, and second over first. A minor row belongs to the one above it."""

    label: str
    values: tuple[str, str]
    ratio: str
    help: str
    minor: bool = False


class FactorRow(NamedTuple):
    """One factor of the ratio; ``before`` and ``after`` are the product of all factors before it, and with it.

    ``ratio`` is ``None`` where it is unknown; it is then part of a joined row, and ``before`` equals ``after``.
    """

    name: str
    ratio: float | None
    low: float | None
    high: float | None
    before: float
    after: float
    meaning: str
    help: str


class CauseRow(NamedTuple):
    """Seconds of an epoch that have one cause, in each model; ``None`` where a model has no such cause."""

    name: str
    first: float | None
    second: float | None
    meaning: str

    @property
    def difference(self) -> float:
        """Second minus first."""
        return (self.second or 0.0) - (self.first or 0.0)


def framework(backend: str) -> str:
    """A backend as sentences name it; two that are joined, both."""
    from epochwise.explaining.wording import FRAMEWORKS

    return " against ".join(FRAMEWORKS.get(name, name) for name in backend.split(" / "))


def headline(comparison: Comparison) -> str:
    """The result in one line."""
    first, second = comparison.models
    ratio = comparison.ratio
    if ratio.low <= 1.0 <= ratio.high:
        return f"{second.name} against {first.name}: no difference in the time of an epoch could be shown"
    return f"{second.name} against {first.name}: an epoch takes {' '.join(times_as_long(ratio.median))}"


def times_as_long(ratio: float) -> tuple[str, str]:
    """The ratio and how the sentence goes on: ``2.09 times``, ``as long``; or ``1/2.09``, ``of the time``."""
    return (f"{ratio_text(ratio)} times", "as long") if ratio >= 0.995 else (ratio_text(ratio), "of the time")  # noqa: PLR2004


def setting(record: Comparison | Explanation) -> list[tuple[str, str]]:
    """On what, with what and how it was measured."""
    models = [model.measurement for model in models_of(record)]
    machine, how = record.machine, record.measurement
    steps = " and ".join(dict.fromkeys(f"{model.steps_per_epoch:,}" for model in models))
    size = " and ".join(dict.fromkeys(str(model.batch_size) for model in models))
    cores = "1 core" if machine.cores == 1 else f"{machine.cores} cores"
    where = f"{machine.name}, {cores}" if machine.device == "cpu" else f"{machine.name} ({machine.device})"
    blocks = f"{how.pairs} undisturbed blocks{' of each model, in turn' if len(models) > 1 else ''}"
    stopped = ", then interrupted" if how.interrupted else ""
    return [
        ("backend", framework(record.backend)),
        ("data", how.data),
        ("batch", f"{size} samples; {steps} steps in an epoch"),
        ("machine", where),
        ("measured", f"{blocks}, {how.measuring_seconds:.0f} s in all{stopped}"),
    ]


def models_of(record: Comparison | Explanation) -> tuple[ModelExplanation, ...]:
    """The models that a record explains."""
    return record.models if isinstance(record, Comparison) else (record.model,)


def facts(comparison: Comparison) -> list[Fact]:
    """What the models are and how long they take."""
    models = comparison.models
    one, two = (model.counts for model in models)
    rows = [
        _counted("parameters", one.parameters.total, two.parameters.total, "All weights, trainable and frozen."),
        _counted(
            "training MACs per sample",
            one.per_sample.training_macs,
            two.per_sample.training_macs,
            "Multiply-accumulates of forward and backward pass, for one sample. 1 MAC is 2 FLOPs.",
        ),
        _counted(
            "activations per sample",
            one.per_sample.activation_elements,
            two.per_sample.activation_elements,
            "Elements that the layers write in the forward pass, for one sample.",
        ),
    ]
    first, second = (model.epoch_seconds for model in models)
    units = units_of(comparison)
    ratio = comparison.ratio
    begins = [model.first_epoch_seconds for model in models]
    return [
        *rows,
        Fact(
            "epoch",
            (units[0].named(first.median), units[1].named(second.median)),
            ratio_text(ratio.median),
            "Median of undisturbed epochs in steady state: no profiler runs.",
        ),
        Fact(
            "  95 % interval",
            (interval_text(first.low, first.high, units[0]), interval_text(second.low, second.high, units[1])),
            interval_text(ratio.low, ratio.high),
            "Bootstrap; that of the ratio is paired, because the models were measured in turn.",
            minor=True,
        ),
        Fact(
            "first epoch",
            (unit_for(begins[0]).named(begins[0]), unit_for(begins[1]).named(begins[1])),
            _over(*begins),
            "With building, tracing and compilation, which are not in the time of an epoch.",
        ),
        *_accuracy(*models),
    ]


def _counted(label: str, one: float, two: float, help_text: str) -> Fact:
    return Fact(label, (exact_text(one), exact_text(two)), _over(one, two), help_text)


def _over(one: float, two: float) -> str:
    return ratio_text(two / one) if one > 0 and two > 0 else NOTHING


def quality(end: EpochEnd) -> tuple[str, float] | None:
    """The figure of the test data that says how good the model is: accuracy where there is one; ``None`` without test data."""
    names = [name for name in end.test if "acc" in name] or [name for name in end.test if name != "loss"] or list(end.test)
    return (names[0], end.test[names[0]]) if names else None


def evaluated(model: ModelExplanation) -> list[tuple[EpochEnd, str, float]]:
    """The epochs at whose end the model was tested, with the name of the figure and the figure."""
    found = [(end, quality(end)) for end in model.measurement.epochs]
    return [(end, *figure) for end, figure in found if figure is not None]


def _accuracy(one: ModelExplanation, two: ModelExplanation) -> list[Fact]:
    first, second = evaluated(one), evaluated(two)
    if not first and not second:
        return [Fact("test accuracy", (UNTESTED, UNTESTED), "", "No epoch was run to its end with test data.")]
    name = (first or second)[-1][1]
    label = "accuracy" if "acc" in name else name
    return [
        Fact(
            f"test {label}",
            (_figure(first), _figure(second)),
            "",
            "On the test data, at the end of the last epoch that was run to its end.",
        ),
        Fact("  after", (_length(first), _length(second)), "", "Epochs that were run to their end.", minor=True),
        *_same_epoch(first, second),
    ]


def _same_epoch(first: list[tuple[EpochEnd, str, float]], second: list[tuple[EpochEnd, str, float]]) -> list[Fact]:
    """Both models' figures after equally many epochs, where one was trained for longer than the other."""
    one, two = ({end.epoch: figure for end, _, figure in ends} for ends in (first, second))
    common = max(one.keys() & two.keys(), default=0)
    if not common or max(one) == max(two):
        return []
    values = f"{one[common]:.4f}", f"{two[common]:.4f}"
    return [Fact(f"  after {epochs_text(common)} each", values, "", "After equally many epochs.", minor=True)]


def _figure(ends: list[tuple[EpochEnd, str, float]]) -> str:
    return f"{ends[-1][2]:.4f}" if ends else UNTESTED


def _length(ends: list[tuple[EpochEnd, str, float]]) -> str:
    return epochs_text(ends[-1][0].epoch) if ends else NOTHING


def epochs_text(epochs: int) -> str:
    """``1 epoch``, ``3 epochs``."""
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


def epoch_times(model: ModelExplanation) -> list[tuple[str, str]]:
    """What an epoch takes, the first one, the best possible, and how good the model was."""
    epoch, best = model.epoch_seconds, model.roofline_seconds
    unit = unit_for(epoch.median)
    rows = [
        ("epoch", f"{unit.named(epoch.median)} (95 % interval {interval_text(epoch.low, epoch.high, unit)})"),
        ("first epoch", f"{unit_for(model.first_epoch_seconds).named(model.first_epoch_seconds)}, with tracing and compiling"),
    ]
    if best:
        rows.append(("best possible", f"{unit_for(best).named(best)}: the roofline of this machine, layer by layer"))
    if ends := evaluated(model):
        end, name, figure = ends[-1]
        rows.append((f"test {name}", f"{figure:.4f} after epoch {end.epoch}"))
    return rows


def achieved(part: Part) -> tuple[str, str, str]:
    """GFLOP/s, GB/s and how many times the best possible time a part takes."""
    return (
        NOTHING if part.flops_per_second is None else digits(part.flops_per_second / 1e9),
        NOTHING if part.bytes_per_second is None else digits(part.bytes_per_second / 1e9),
        NOTHING if part.times_roofline is None else digits(part.times_roofline),
    )


def factor_rows(comparison: Comparison) -> list[FactorRow]:
    """The factors in their order, each with the product so far; the last product is the measured ratio."""
    rows: list[FactorRow] = []
    so_far = 1.0
    for factor in comparison.factors:
        after = so_far if factor.ratio is None else so_far * factor.ratio
        rows.append(
            FactorRow(factor.name, factor.ratio, factor.low, factor.high, so_far, after, *_meaning(factor)),
        )
        so_far = after
    return rows


def _meaning(factor: FactorRatio) -> tuple[str, str]:
    names = factor.name.split(JOINED)
    helps = " ".join(FACTOR_HELP.get(name, "") for name in names)
    if len(names) > 1:
        return "not told apart, so taken together", helps
    return FACTORS.get(factor.name, ""), helps


def quiet(part: Part) -> bool:
    """Whether a part is no layer's: dispatch, input, callbacks, the turn, what is unattributed."""
    return part.phase is None and REST not in part.name


def largest(parts: tuple[Part, ...], most: int) -> list[Part]:
    """The largest parts, those that are no layer's always among them; the others together are the last."""
    kept = [part for part in parts if quiet(part)][: most - 1]
    kept += [part for part in parts if part not in kept][: most - len(kept)]
    rest = [part for part in parts if part not in kept]
    if len(rest) == 1:
        kept, rest = [*kept, *rest], []
    shown = sorted(kept, key=lambda part: -part.seconds)
    if rest:
        seconds, share = (math.fsum(getattr(part, name) for part in rest) for name in ("seconds", "share"))
        shown.append(Part(f"{len(rest)} {REST}", None, seconds, share))
    return shown


def cause_rows(comparison: Comparison) -> list[CauseRow]:
    """Seconds by cause in both models, in the order of the time identity; the columns add up to the epochs."""
    one, two = ({cause.name: cause.seconds for cause in model.causes} for model in comparison.models)
    names = [name for name in CAUSES if name in one or name in two]
    names += [name for name in (*one, *two) if name not in names]
    return [CauseRow(name, one.get(name), two.get(name), CAUSES.get(name, "")) for name in dict.fromkeys(names)]


def difference_rows(comparison: Comparison, most: int) -> list[PartDifference]:
    """The parts that make the difference of the epochs, largest first; the others together are the last."""
    shown = list(comparison.differences[:most])
    rest = comparison.differences[most:]
    if rest:
        sums = [
            math.fsum(value or 0.0 for value in values)
            for values in zip(*((part.first, part.second) for part in rest), strict=True)
        ]
        shown.append(PartDifference(f"{len(rest)} {REST}", None, sums[0], sums[1], math.fsum(part.seconds for part in rest)))
    return shown


def evidence(model: ModelExplanation, least_share: float) -> list[tuple[Cause, str]]:
    """What was measured, how sure it is and what would remove it, for each cause of at least this share of the epoch."""
    epoch = model.epoch_seconds.median
    found = [cause for cause in model.causes if cause.seconds >= least_share * epoch and cause.evidence]
    return [(cause, told(cause)) for cause in (*found, *model.first_epoch_causes)]


def told(cause: Cause) -> str:
    """What was measured for a cause, how sure that is by which rule, and what would remove it."""
    text = f"{cause.evidence}. Sure: {cause.sure} ({cause.rule})." if cause.rule else f"{cause.evidence}."
    if not cause.remedy:
        return text
    left = "" if cause.left_seconds is None else f"; left would be {unit_for(cause.left_seconds).named(cause.left_seconds)}"
    return f"{text} What would remove it: {cause.remedy}{left}."


def units_of(comparison: Comparison) -> tuple[Unit, Unit]:
    """Units for the seconds of each model: one for both, unless that leaves the smaller one too few digits."""
    common = common_unit(comparison)
    shown = [
        common.fitted(model.epoch_seconds.median)
        if 20 * model.epoch_seconds.median >= common.seconds
        else unit_for(model.epoch_seconds.median)
        for model in comparison.models
    ]
    return shown[0], shown[1]


def common_unit(comparison: Comparison) -> Unit:
    """The unit for a table with both models' seconds."""
    return unit_for(max(model.epoch_seconds.median for model in comparison.models))


def profiler(model: ModelExplanation) -> str:
    """The profiler and what it cost, in a sentence."""
    profile = model.measurement.profile
    if profile is None:
        return f"{model.name}: no profile could be made, so kernels and waiting are not told apart."
    cost = profile.overhead
    change = f"{share_text(abs(cost))} {'longer' if cost > 0 else 'less'}"
    return f"{model.name}: a profiled step took {change} than an undisturbed one ({profile.steps} steps; {profile.tool})."
