"""The question, in its three parts, answered from comparisons of its two models on every backend that is installed.

Why is the CNN slower? What is the benefit then? What are parameter counts good for?
"""

from __future__ import annotations

from collections.abc import Sequence

from epochwise.explaining.compare import FRAMEWORKS
from epochwise.explaining.explanation import Comparison, ModelExplanation, QuestionAnswer
from epochwise.explaining.places import busy_by_layer
from epochwise.explaining.wording import bytes_text, listed, percent, seconds_text, times
from epochwise.measuring.measurement import EpochEnd

BYTES_PER_PARAMETER = 4
CHANCE_POINTS = 1.0
"""Percentage points of test accuracy that runs with different seeds of these models commonly differ by."""


def answer_question(comparisons: Sequence[Comparison]) -> QuestionAnswer:
    """A paragraph for each part of the question.

    Args:
        comparisons: of the MLP (first) and the CNN (second), one for each backend; at least one.
    """
    return QuestionAnswer(_why_slower(comparisons), _benefit(comparisons), _parameters(comparisons[0]))


def _factor(comparison: Comparison, name: str) -> float | None:
    return next((factor.ratio for factor in comparison.factors if factor.name == name), None)


def _why_slower(comparisons: Sequence[Comparison]) -> str:
    first, second = comparisons[0].models
    parameters, reuse = (_factor(comparisons[0], name) or 1.0 for name in ("parameters", "reuse"))
    ratios = listed([f"{times(item.ratio.median)} times as long with {FRAMEWORKS[item.backend]}" for item in comparisons])
    sentences = [
        "Because time follows what is done with the weights, not how many there are."
        f" {second.name} has {times(1 / parameters)} times fewer parameters, but it slides each of its filters over the whole"
        f" image: a weight is used {times(reuse)} times as often per epoch,"
        f" which makes {times(parameters * reuse)} times the multiply-accumulates, on every backend.",
        f"Measured here, its epoch takes {ratios}.",
        "What turns the same arithmetic into different times is the framework:",
        "; ".join(_framework_sentence(item) for item in comparisons) + ".",
    ]
    if len(comparisons) == 1:
        sentences.append("On another framework the ratio would be another one.")
    del first
    return " ".join(sentences)


def _framework_sentence(comparison: Comparison) -> str:
    """What a backend adds to the arithmetic, in half a sentence."""
    first, second = comparison.models
    where = FRAMEWORKS[comparison.backend]
    kernels, waiting = (_factor(comparison, name) for name in ("kernels", "waiting"))
    if kernels is None or waiting is None:
        return f"with {where}, kernels and waiting could not be told apart"
    idle = [1 - 1 / (model.factors.waiting or 1.0) for model in (first, second)]
    parts = []
    if waiting < 1 / 1.05:
        parts.append(
            f"no kernel runs for {percent(idle[0])} of {first.name}'s epoch and {percent(idle[1])} of {second.name}'s,"
            f" a cost per step that hides the difference (a factor {times(waiting)})"
        )
    elif waiting > 1.05:  # noqa: PLR2004 - the same 5 per cent as above
        parts.append(f"waiting adds a factor {times(waiting)}")
    layers = busy_by_layer(second.where)
    busiest = next(iter(layers), None)
    if kernels > 1.05 and busiest is not None and second.busy_seconds is not None:  # noqa: PLR2004
        share = percent(layers[busiest] / second.busy_seconds.median)
        parts.append(
            f"{second.name}'s kernels are further from the roofline by a factor {times(kernels)}, {share} of them {busiest}"
        )
    elif kernels < 1 / 1.05:
        parts.append(f"{first.name}'s kernels are further from the roofline than {second.name}'s (a factor {times(kernels)})")
    return f"with {where}, {' and '.join(parts) or 'little: its kernels and its waiting treat both models alike'}"


def _last_common(comparison: Comparison) -> tuple[EpochEnd, EpochEnd] | None:
    """The last epoch that both models ended, with test data."""
    first, second = (model.measurement.epochs for model in comparison.models)
    both = [pair for pair in zip(first, second, strict=False) if all("accuracy" in end.test for end in pair)]
    return both[-1] if both else None


def _benefit(comparisons: Sequence[Comparison]) -> str:
    first, second = comparisons[0].models
    shown, gaps = [], []
    for item in comparisons:
        ends = _last_common(item)
        if ends is None:
            continue
        one, two = (end.test["accuracy"] for end in ends)
        gaps.append(100 * (two - one))
        seconds = " and ".join(seconds_text(end.training_seconds) for end in ends)
        shown.append(
            f"{percent_points(one)} for {first.name} and {percent_points(two)} for {second.name}"
            f" after {_epochs(ends[0].epoch)} each ({seconds}) with {FRAMEWORKS[item.backend]}"
        )
    if not shown:
        return (
            "Not measured in this run: no epoch was trained to its end with test data."
            f" What follows from the counts alone is that {second.name} is smaller to store and to send, see below."
        )
    if max(gaps) < -CHANCE_POINTS:
        verdict = f"At this training length {second.name} is behind: on centred images and with few epochs it buys nothing yet"
    elif min(gaps) > CHANCE_POINTS:
        verdict = f"At this training length {second.name} is ahead"
    else:
        verdict = (
            f"At this training length neither is clearly ahead: runs with other seeds differ by about {CHANCE_POINTS:.0f} point"
        )
    return (
        f"As far as it has been measured here: test accuracy was {listed(shown)}. {verdict}. This is one run of each model per"
        " backend with one seed, so a difference of about a point is not evidence. What convolution is said to buy (the same"
        " detector at every place, fewer samples needed) has not been put to the test by this run: these images are centred,"
        " and where every object stands at the same place a network can do without shared filters."
    )


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def percent_points(share: float) -> str:
    """An accuracy, to a tenth of a point."""
    return f"{share:.1%}".replace("%", " %")


def _parameters(comparison: Comparison) -> str:
    first, second = comparison.models
    one, two = (model.counts.parameters.total for model in (first, second))
    activations = [model.counts.per_sample.activation_elements for model in (first, second)]
    return (
        f"For what is stored and sent, not for time. {two:,} against {one:,} parameters mean {_checkpoint(second)} against"
        f" {_checkpoint(first)} on disk and over the network, as much again for the gradients that are exchanged in every step"
        " when several machines train together, and for each slot that an optimizer keeps."
        f" They do not say how long an epoch takes (above: {times(one / two)} times fewer parameters,"
        f" {times(comparison.ratio.median)} times the time), nor how much memory training needs: {second.name} writes"
        f" {activations[1]:,} activations for each image, {first.name} {activations[0]:,}."
        " And a count must be held against something: a dense layer with the same outputs as a convolution needs far more"
        " weights; against a small dense network, as here, a small count says little."
    )


def _checkpoint(model: ModelExplanation) -> str:
    return bytes_text(BYTES_PER_PARAMETER * model.counts.parameters.total)
