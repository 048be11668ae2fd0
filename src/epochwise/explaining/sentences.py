"""The answer in sentences: first the ratio, then the factors, then the one or two causes that matter, then the seconds.

No cause below 5 % of the difference is named.
"""

from __future__ import annotations

import math

from epochwise.explaining.explanation import CauseDifference, FactorRatio, ModelExplanation
from epochwise.explaining.places import busy_by_layer
from epochwise.explaining.vocabulary import HIGH, KERNELS
from epochwise.explaining.wording import listed, percent, seconds_text, times
from epochwise.measuring.measurement import Interval

LEAST_SHARE = 0.05
"""Of the difference of two epochs; what is smaller is not named."""
MOST_CAUSES = 2
LEAST_FACTOR = math.log(1.05)
LABELS = {
    "memory": "memory traffic",
    "kernels": "the kernels",
    "waiting": "waiting",
    "kernels x waiting": "kernels and waiting together",
}


def answer(
    first: ModelExplanation,
    second: ModelExplanation,
    ratio: Interval,
    factors: tuple[FactorRatio, ...],
    causes: tuple[CauseDifference, ...],
    where: str,
) -> str:
    """Why an epoch of the second model takes so many times as long as one of the first.

    Args:
        first: the model that is the measure.
        second: the model that is compared with it.
        ratio: of their epochs.
        factors: of that ratio.
        causes: of the difference, largest first.
        where: the backend, for the first sentence.
    """
    known = {factor.name: factor.ratio for factor in factors if factor.ratio is not None}
    sentences = [_ratio(first, second, ratio, where), _work(second, known), _rest(ratio, known)]
    sentences += [_reason(first, second, name) for name in _strongest(known)]
    if not ratio.low <= 1.0 <= ratio.high:
        named = _worth_naming(causes)
        sentences += [_seconds(first, second, named), _to_do(first, second, named)]
    return " ".join(sentence for sentence in sentences if sentence)


def _ratio(first: ModelExplanation, second: ModelExplanation, ratio: Interval, where: str) -> str:
    spread = f"95 % interval of the ratio {times(ratio.low)} to {times(ratio.high)}"
    both = f"{seconds_text(second.epoch_seconds.median)} against {seconds_text(first.epoch_seconds.median)}"
    if ratio.low <= 1.0 <= ratio.high:
        what = f"no difference between an epoch of {second.name} and one of {first.name} could be shown"
    elif ratio.median > 1:
        what = f"an epoch of {second.name} takes {times(ratio.median)} times as long as one of {first.name}"
    else:
        what = f"an epoch of {second.name} takes 1/{times(1 / ratio.median)} of the time of one of {first.name}"
    return f"With {where}, {what}: {both} ({spread})."


def _work(second: ModelExplanation, known: dict[str, float]) -> str:
    if "parameters" not in known or "reuse" not in known:
        return "At least one of the models does no multiply-accumulates, so parameters and arithmetic cannot be compared."
    parameters, reuse = known["parameters"], known["reuse"]
    joint = "but" if (parameters < 1) != (reuse < 1) else "and"
    has = f"{second.name} has {_more_or_fewer(parameters)} parameters"
    return (
        f"{has} {joint} uses each {times(reuse)} times as often, which makes {times(parameters * reuse)} times the arithmetic."
    )


def _more_or_fewer(ratio: float) -> str:
    if abs(math.log(ratio)) < math.log(1.005):
        return "as many"
    return f"{times(ratio)} times as many" if ratio > 1 else f"{times(1 / ratio)} times fewer"


def _rest(ratio: Interval, known: dict[str, float]) -> str:
    """What multiplies the arithmetic until it is the measured ratio."""
    if "reuse" not in known:
        return ""
    arithmetic = known["parameters"] * known["reuse"]
    steps = [
        f"{label} by {times(known[name])}"
        for name, label in LABELS.items()
        if abs(math.log(known.get(name, 1.0))) >= LEAST_FACTOR
    ]
    if not steps:
        return f"That is the whole of it: memory, kernels and waiting are alike (measured: {times(ratio.median)})."
    return f"From {times(arithmetic)} to the measured {times(ratio.median)}: {listed(steps)}."


def _strongest(known: dict[str, float]) -> list[str]:
    """The one or two of memory, kernels and waiting that move the ratio most."""
    sizes: dict[str, float] = {name: abs(math.log(known[name])) for name in ("memory", "kernels", "waiting") if name in known}
    ordered = sorted((name for name, size in sizes.items() if size >= LEAST_FACTOR), key=lambda name: -sizes[name])
    return [name for name in ordered if sizes[name] >= sizes[ordered[0]] / 2][:2]


def _reason(first: ModelExplanation, second: ModelExplanation, name: str) -> str:
    if name == "memory":
        return _memory_reason(first, second)
    return _waiting_reason(first, second) if name == "waiting" else _kernel_reason(first, second)


def _memory_reason(first: ModelExplanation, second: ModelExplanation) -> str:
    one, two = (model.factors.memory or math.nan for model in (first, second))
    return (
        f"Memory: at best, the layers of {second.name} need {times(two)} times the time of their arithmetic,"
        f" because their bytes take longer than their FLOPs; those of {first.name} {times(one)} times."
    )


def _waiting_reason(first: ModelExplanation, second: ModelExplanation) -> str:
    one, two = (_waiting_share(model) for model in (first, second))
    text = (
        f"Waiting: for {percent(one)} of an epoch of {first.name} no kernel runs (dispatch, Python, input),"
        f" for {percent(two)} of one of {second.name}"
    )
    if one > two:
        return f"{text}; what each step costs whatever the model hides part of the difference."
    return f"{text}."


def _waiting_share(model: ModelExplanation) -> float:
    return 1.0 - 1.0 / model.factors.waiting if model.factors.waiting else math.nan


def _kernel_reason(first: ModelExplanation, second: ModelExplanation) -> str:
    one, two = (model.factors.kernels or math.nan for model in (first, second))
    slower = second if two > one else first
    text = f"Kernels: those of {second.name} take {times(two)} times their roofline, those of {first.name} {times(one)} times"
    layers = busy_by_layer(slower.where)
    if not layers or slower.busy_seconds is None:
        return f"{text}."
    name, seconds = next(iter(layers.items()))
    text += f"; the busiest layer of {slower.name} is {name}, {percent(seconds / slower.busy_seconds.median)} of its busy time"
    row = next((layer for layer in slower.counts.layers if layer.name == name), None)
    if row is not None and not row.forward.macs:
        text += ", though it does no multiply-accumulate at all"
    return f"{text}."


def _worth_naming(causes: tuple[CauseDifference, ...]) -> list[CauseDifference]:
    """The one or two causes that matter; none below 5 % of the difference, nor one that works against it."""
    return [cause for cause in causes if cause.share >= LEAST_SHARE][:MOST_CAUSES]


def _seconds(first: ModelExplanation, second: ModelExplanation, named: list[CauseDifference]) -> str:
    """The difference in seconds by the causes that matter, with the place that has most of each."""
    difference = second.epoch_seconds.median - first.epoch_seconds.median
    if not named:
        return ""
    items = [f"{seconds_text(abs(cause.seconds))} {_labelled(cause.name)}{_most_in(cause)}" for cause in named]
    more = "more" if difference > 0 else "fewer"
    return f"Of the {seconds_text(abs(difference))} {more}: {listed(items)}."


def _most_in(cause: CauseDifference) -> str:
    if not cause.places or cause.places[0].seconds < abs(cause.seconds) / 3:
        return ""
    place = cause.places[0]
    return f", most of it in {place.name}{f' {place.phase}' if place.phase else ''}"


def _to_do(first: ModelExplanation, second: ModelExplanation, named: list[CauseDifference]) -> str:
    """What would remove the first cause that was timed or taken away here, and the epoch that would be left."""
    slower = second if second.epoch_seconds.median > first.epoch_seconds.median else first
    for cause in named:
        known = cause.sure == HIGH and cause.remedy and cause.left_seconds is not None
        if known and cause.left_seconds is not None and cause.left_seconds < slower.epoch_seconds.median:
            left = seconds_text(cause.left_seconds)
            return f"What would help {slower.name} most against {cause.name}: {cause.remedy}; an epoch of {left} would be left."
    return ""


def _labelled(name: str) -> str:
    return "kernel path (slower than the roofline)" if name == KERNELS else name
