"""What a reader who knows Keras and no statistics needs to be told beside the figures of experiments: plain English only."""

from __future__ import annotations

from typing import NamedTuple

from epochwise.experiments.record import Chart

WORDS = (
    (
        "supported, refuted",
        "The interval of the figure lies wholly on one side: the claim holds here, or it does not."
        " Which outcome refutes it was written down before anything was trained.",
    ),
    ("undecided", "The interval allows both. It does not mean that there is no difference."),
    ("not measured", "It was left out, or the control of the whole set-up (P0) did not pass."),
    (
        "95 % interval",
        "Where the true figure is to be expected: if everything were trained again from other random starts,"
        " 95 of 100 such intervals would hold it.",
    ),
    (
        "seed, training",
        "A seed sets the random start of the weights and the order of the images. A training is one model trained once."
        " Models are compared seed by seed.",
    ),
    ("accuracy point", "One per cent of the test images: from 0.87 to 0.88 is one point."),
)
"""What the words on the page mean."""


class Help(NamedTuple):
    """What an experiment does, and how its pictures are read."""

    done: str
    reading: str = ""


HELP = {
    "P0": Help(
        "A control of the whole set-up. MNIST-1D, a small data set with published results, is made anew from its"
        " description, and three models are trained on it, with the points of each signal in order and shuffled. If"
        " the published gaps did not come out, no other figure on this page could be trusted.",
    ),
    "P1": Help(
        "Both models are trained for equally many epochs, on the same images in the same order, several times from"
        " different random starts.",
        "Further up is better. Where the bands of two curves overlap much, the difference may be chance.",
    ),
    "P2": Help(
        "The same trainings, looked at by what they cost: how many seconds, multiply-accumulates or images it takes"
        " until an accuracy is reached and held. Time for testing is left out.",
        "Of two curves over accuracy, the lower one gets there sooner.",
    ),
    "P3": Help(
        "Models that are alike in the number of parameters, or in arithmetic, are trained side by side, and their"
        " accuracy is drawn against three kinds of cost. One picture alone would hide the other two.",
        "Further up is more accurate, further left is cheaper. A model below and to the right of another is worse in both.",
    ),
    "P4": Help(
        "The same layer built in three ways: connected to everything (dense), connected to its neighbourhood only"
        " (local), and with the same weights at every place (convolution). The steps show which ingredient helps, with"
        " few images and with many.",
    ),
    "P5": Help(
        "All images have their pixels put into another order, the same for every image. To a dense network that is"
        " the same task, since it knows nothing of neighbours. What the CNN loses is what it owes to pixels being"
        " neighbours.",
    ),
    "P6": Help(
        "Each image is made smaller and put on an empty canvas. In training it always stands at one place; in testing"
        " it stands at every place. This is the claim that a dense network recognises a thing only where it saw it,"
        " and a CNN everywhere.",
        "A cell is the accuracy with the image shifted so far down and to the right; the framed cell is where it"
        " stood in training. Guessing gives one tenth with ten classes.",
    ),
    "P7": Help(
        "Nothing is trained. The image is shifted by some pixels, and each layer is asked two things: does its output"
        " merely shift along (equivariance), and does the answer stay the same (invariance)? A convolution promises"
        " the first, not the second.",
    ),
    "P8": Help(
        "Instead of another architecture, more data: in training the image stands at 1, 4, 16, 64 or 225 places. How"
        " many places does each model need until it does well at its worst place?",
    ),
    "P9": Help(
        "The models are trained on few images and on many, for equally many steps, once with the object in the middle"
        " and once anywhere. How many images does one model need for the accuracy that the other has with fewer?",
        "Of two curves, the one further left needs less data for the same accuracy.",
    ),
    "P10": Help(
        "What grows with the number of parameters, and what does not: files, gradients that machines exchange, the"
        " state of the optimizer, against the time of a step and the memory of activations.",
    ),
}
"""By the id of the experiment."""


def chart_help(chart: Chart) -> str:
    """How one chart is drawn: bands, whiskers, scales."""
    texts = []
    told = (
        "band" in chart.title.lower() or "interval" in chart.title.lower()
    )  # where they are something else, the title says so
    if any(line.low and line.high for line in chart.lines) and not told:
        texts.append(f"{'Bands' if chart.kind == 'curves' else 'Vertical lines'}: 95 % intervals of the means over the seeds.")
    axes = {"x": "The horizontal scale is", "y": "The vertical scale is", "xy": "Both scales are"}
    if chart.logarithmic in axes:
        texts.append(f"{axes[chart.logarithmic]} logarithmic: equal distances are equal factors.")
    return " ".join(texts)


MAP_HELP = "Each cell is the mean over the seeds. All maps of this experiment have one scale of colours."
