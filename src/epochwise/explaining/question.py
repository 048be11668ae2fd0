"""The question, in its three parts, answered from comparisons of its two models on every backend that is installed.

Why is the CNN slower? What is the benefit then? What are parameter counts good for?
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from epochwise.explaining.explanation import Comparison, ModelExplanation, QuestionAnswer
from epochwise.explaining.places import busy_by_layer
from epochwise.explaining.wording import FRAMEWORKS, bytes_text, listed, percent, seconds_text, times

BYTES_PER_PARAMETER = 4
EVALUATIONS = 3
"""Evaluations at the ends of epochs that are averaged."""
WORTH_SAYING = 1.05
"""The least factor that is named."""
LEAST_CHANCE = 0.01
"""A difference in accuracy below a point is never called one."""


def answer_question(comparisons: Sequence[Comparison]) -> QuestionAnswer:
    """A paragraph for each part of the question.

    Args:
        comparisons: of the MLP (first) and the CNN (second), one for each backend; at least one.
    """
    return QuestionAnswer(_why_slower(comparisons), _benefit(comparisons), _parameters(comparisons[0]))


def _factor(comparison: Comparison, name: str) -> float | None:
    return next((factor.ratio for factor in comparison.factors if factor.name == name), None)


def _why_slower(comparisons: Sequence[Comparison]) -> str:
    second = comparisons[0].models[1]
    parameters, reuse = (_factor(comparisons[0], name) or 1.0 for name in ("parameters", "reuse"))
    ratios = listed([f"{times(item.ratio.median)} times as long with {FRAMEWORKS[item.backend]}" for item in comparisons])
    sentences = [
        "Because time follows what is done with the weights, not how many there are."
        f" The {second.name} has {times(1 / parameters)} times fewer parameters, but it slides each of its filters over the"
        f" whole image: a weight is used {times(reuse)} times as often per epoch,"
        f" which makes {times(parameters * reuse)} times the multiply-accumulates, on every backend.",
        f"Measured here, its epoch takes {ratios}.",
        "What turns the same arithmetic into different times is the framework:",
        "; ".join(_framework_sentence(item) for item in comparisons) + ".",
    ]
    if len(comparisons) == 1:
        sentences.append("On another framework the ratio would be another one.")
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
    if waiting < 1 / WORTH_SAYING:
        parts.append(
            f"no kernel runs for {percent(idle[0])} of the {first.name}'s epoch and {percent(idle[1])} of the {second.name}'s,"
            f" a cost per step that hides the difference (a factor {times(waiting)})"
        )
    elif waiting > WORTH_SAYING:
        parts.append(f"waiting adds a factor {times(waiting)}")
    layers = busy_by_layer(second.where)
    busiest = next(iter(layers), None)
    if kernels > WORTH_SAYING and busiest is not None and second.busy_seconds is not None:
        share = percent(layers[busiest] / second.busy_seconds.median)
        parts.append(
            f"the {second.name}'s kernels are further from the roofline by a factor {times(kernels)},"
            f" {share} of its busy time in {busiest}"
        )
    elif kernels < 1 / WORTH_SAYING:
        parts.append(
            f"the {first.name}'s kernels are further from the roofline than the {second.name}'s (a factor {times(kernels)})"
        )
    return f"with {where}, {' and '.join(parts) or 'little: its kernels and its waiting treat both models alike'}"


class _Accuracy(NamedTuple):
    """Test accuracy of both models at the end of the same epochs.

    Attributes:
        epochs: how many both have ended.
        first: mean of the first model's last evaluations.
        second: the same of the second.
        swing: how far the evaluations of one model lay apart at most, a measure of what is chance.
        seconds: of training, for each.
    """

    epochs: int
    first: float
    second: float
    swing: float
    seconds: tuple[float, float]


def _accuracy(comparison: Comparison) -> _Accuracy | None:
    """Averaged over the last evaluations, since plain SGD makes single ones swing; ``None`` without test data."""
    first, second = (model.measurement.epochs for model in comparison.models)
    both = [pair for pair in zip(first, second, strict=False) if all("accuracy" in end.test for end in pair)]
    if not both:
        return None
    one, two = ([end.test["accuracy"] for end in ends] for ends in zip(*both[-EVALUATIONS:], strict=True))
    swing = max(max(one) - min(one), max(two) - min(two))
    seconds = (both[-1][0].training_seconds, both[-1][1].training_seconds)
    return _Accuracy(len(both), sum(one) / len(one), sum(two) / len(two), swing, seconds)


def _benefit(comparisons: Sequence[Comparison]) -> str:
    first, second = (model.name for model in comparisons[0].models)
    found = [(FRAMEWORKS[item.backend], accuracy) for item in comparisons if (accuracy := _accuracy(item)) is not None]
    if not found:
        return (
            "Not measured in this run: no epoch was trained to its end with test data."
            f" What follows from the counts alone is that the {second} is smaller to store and to send, see below."
        )
    shown = [
        f"{_points(item.first)} for the {first} and {_points(item.second)} for the {second} with {where}"
        f" ({_epochs(item.epochs)}; {seconds_text(item.seconds[0])} and {seconds_text(item.seconds[1])} of training)"
        for where, item in found
    ]
    chance = max(LEAST_CHANCE, *(item.swing for _, item in found))
    gaps = [item.second - item.first for _, item in found]
    if max(gaps) < -chance:
        verdict = f"At this training length the {second} is behind: here it buys no accuracy yet"
    elif min(gaps) > chance:
        verdict = f"At this training length the {second} is ahead"
    else:
        verdict = f"That is no clear difference: from epoch to epoch the same model's accuracy moves by up to {_points(chance)}"
    return (
        f"As far as it has been measured here: test accuracy, mean of the last evaluations, was {listed(shown)}. {verdict}."
        " This is one run of each model with one seed. What convolution is said to buy (the same detector at every place, fewer"
        " samples needed) has not been put to the test by it: these images are centred, and where every object stands at the"
        " same place a network can do without shared filters."
    )


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _points(share: float) -> str:
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
        f" {times(comparison.ratio.median)} times the time), nor how much memory training needs: the {second.name} writes"
        f" {activations[1]:,} activations for each image, the {first.name} {activations[0]:,}."
        " And a count must be held against something: a dense layer with the same outputs as a convolution needs far more"
        " weights; against a small dense network, as here, a small count says little."
    )


def _checkpoint(model: ModelExplanation) -> str:
    return bytes_text(BYTES_PER_PARAMETER * model.counts.parameters.total)
