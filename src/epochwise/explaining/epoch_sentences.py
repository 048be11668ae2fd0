"""Where one model's epoch goes, in sentences: the time, what it could be at best, the causes, the layers, what would help.

Nothing below 5 % of the epoch is named.
"""

from __future__ import annotations

from epochwise.explaining.explanation import Cause, ModelExplanation, Part, WhatIf
from epochwise.explaining.vocabulary import CALLBACKS, HIGH, KERNELS, LOWERING, OVERHEAD
from epochwise.explaining.wording import FRAMEWORKS, listed, percent, seconds_text, times

LEAST_SHARE = 0.05
"""Of the epoch; what is smaller is not named."""
MOST_CAUSES, MOST_LAYERS = 2, 2


def answer(model: ModelExplanation, predicted: tuple[WhatIf, ...]) -> str:
    """Where the epoch of one model goes, why, and what it could be.

    Args:
        model: explained.
        predicted: its what-ifs.
    """
    sentences = [_time(model), _start(model), _best(model), _causes(model), _layers(model), _to_do(model), _growth(model)]
    sentences.append(_could_be(model, predicted))
    return " ".join(sentence for sentence in sentences if sentence)


def _time(model: ModelExplanation) -> str:
    epoch, measured = model.epoch_seconds, model.measurement
    step = epoch.median / measured.steps_per_epoch
    spread = f"95 % interval {seconds_text(epoch.low)} to {seconds_text(epoch.high)}"
    return (
        f"With {FRAMEWORKS[measured.backend]}, an epoch of {model.name} takes {seconds_text(epoch.median)} ({spread}):"
        f" {measured.steps_per_epoch:,} steps of {seconds_text(step)}."
    )


def _start(model: ModelExplanation) -> str:
    start = model.measurement.first_step_seconds
    if start < LEAST_SHARE * model.epoch_seconds.median:
        return ""
    return f"Once, before that, {seconds_text(start)} go into building, tracing and compiling, until the first step is done."


def _best(model: ModelExplanation) -> str:
    if not model.roofline_seconds:
        return ""
    best, arithmetic = model.roofline_seconds, model.arithmetic_seconds
    factor = model.epoch_seconds.median / best
    what = f"its arithmetic ({seconds_text(arithmetic)})" if arithmetic > best / 2 else "the bytes that its layers move"
    return f"The best that this machine could do is {seconds_text(best)}, mostly {what}; it takes {times(factor)} times that."


def _causes(model: ModelExplanation) -> str:
    epoch = model.epoch_seconds.median
    named = [cause for cause in model.causes if cause.seconds >= LEAST_SHARE * epoch][:MOST_CAUSES]
    if not named:
        return ""
    items = [
        f"{percent(cause.seconds / epoch)} {_labelled(cause.name)}{_in(cause)} ({seconds_text(cause.seconds)})"
        for cause in named
    ]
    return f"Where it goes: {listed(items)}."


def _in(cause: Cause) -> str:
    """The place that has most of a cause that was found by a rule of its own."""
    return f" in {cause.place}" if cause.place and cause.name in (CALLBACKS, LOWERING, OVERHEAD) else ""


def _to_do(model: ModelExplanation) -> str:
    """What would remove the first cause, where that was timed or taken away; other advice is in the table of causes."""
    first = model.causes[0]
    epoch = model.epoch_seconds.median
    if not first.remedy or first.sure != HIGH or first.left_seconds is None or first.seconds < LEAST_SHARE * epoch:
        return ""
    return f"Against {first.name}: {first.remedy}; an epoch of {seconds_text(first.left_seconds)} would be left."


def _labelled(name: str) -> str:
    return "kernels slower than that best" if name == KERNELS else name


def _layers(model: ModelExplanation) -> str:
    """The parts that lose most against the roofline."""
    lost = sorted((part for part in model.where if part.phase), key=lambda part: -_lost(part))
    named = [part for part in lost if _lost(part) >= LEAST_SHARE * model.epoch_seconds.median][:MOST_LAYERS]
    if not named:
        return ""
    items = [f"{part.name} {part.phase} ({seconds_text(part.seconds)}{_against_best(part)})" for part in named]
    return f"Most is lost in {listed(items)}."


def _growth(model: ModelExplanation) -> str:
    """Steps that grew slower while they were measured."""
    grown = model.measurement.growth
    if grown is None:
        return ""
    return f"Steps grow slower as training goes on, by {percent(grown.share)} while this was measured: {grown.evidence}."


def _lost(part: Part) -> float:
    return part.seconds - (part.roofline_seconds or 0.0)


def _against_best(part: Part) -> str:
    return f", {times(part.times_roofline)} times its best" if part.times_roofline else ""


def _could_be(model: ModelExplanation, predicted: tuple[WhatIf, ...]) -> str:
    gains = [item for item in predicted if item.epoch_seconds.median <= (1 - LEAST_SHARE) * model.epoch_seconds.median]
    if not gains:
        return ""
    items = [f"{seconds_text(item.epoch_seconds.median)} with {item.name}" for item in gains]
    return f"It could be {listed(items)}."
