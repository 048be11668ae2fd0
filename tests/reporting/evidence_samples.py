"""Made-up records of experiments, of the shape that real ones have: what reports are drawn from in these tests.

No figure in here was measured. Each record says so in its notes, and none may ever leave the tests.
"""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from epochwise.experiments.record import (
    Agreement,
    Answer,
    Chart,
    Check,
    Evidence,
    Experiment,
    Finding,
    Line,
    PositionMap,
    Table,
)
from epochwise.experiments.request import Plan, PlannedProtocol

MADE_UP = "All figures of this record are made up for tests: nothing was trained."
MLP, CNN = "MLP", "CNN"
EPOCHS = (1, 2, 5, 10, 20, 30)


def learning_curve(name, end, speed, seeds, epochs=30, spread=0.012):
    """Accuracy by epoch: it rises quickly, then slowly, with a band that narrows."""
    generator = np.random.default_rng(seeds)
    x = np.arange(1, epochs + 1)
    y = end - (end - 0.55) * np.exp(-speed * x**0.6) + generator.normal(0, 0.002, epochs)
    half = spread / np.sqrt(x) + 0.003
    return Line(name=name, x=tuple(map(float, x)), y=rounded(y), low=rounded(y - half), high=rounded(y + half))


def rounded(values, places=4):
    return tuple(round(float(value), places) for value in values)


def points(name, rows, labels=False):
    """A series of points ``(label, x, y, half of the interval)``."""
    return Line(
        name=name,
        x=tuple(float(x) for _, x, _, _ in rows),
        y=tuple(y for _, _, y, _ in rows),
        low=tuple(round(y - half, 4) for _, _, y, half in rows),
        high=tuple(round(y + half, 4) for _, _, y, half in rows),
        labels=tuple(label for label, *_ in rows) if labels else (),
    )


def position_map(arm, trained_at, offsets, reach, top, phase=0.0):
    """Accuracy that falls with the distance from the place of training; ``reach`` in pixels, ``None`` for none lost."""
    generator = np.random.default_rng(len(arm) + len(offsets))
    down, right = np.meshgrid(offsets, offsets, indexing="ij")
    if reach is None:
        found = np.full(down.shape, top)
    else:
        far = np.hypot(down - trained_at[0], right - trained_at[1])
        found = 0.1 + (top - 0.1) * np.exp(-((far / reach) ** 2))
    found = found - phase * ((down % 4 != 0) | (right % 4 != 0))
    found = np.clip(found + generator.normal(0, 0.008, found.shape), 0.05, 1)
    return PositionMap(arm=arm, trained_at=trained_at, offsets=tuple(offsets), accuracy=tuple(rounded(row, 3) for row in found))


def harness():
    rows = (("CNN", "0.917", "0.92", "0.581", "0.58"), ("MLP", "0.654", "0.65", "0.660", "0.66"))
    return Experiment(
        id="P0",
        title="Can this harness be trusted?",
        claim="The harness reproduces the published accuracies on MNIST-1D.",
        falsified_if="A mean differs from the published one by more than 3 points.",
        verdict="supported",
        estimate=0.9,
        low=0.2,
        high=1.6,
        unit="accuracy points, largest difference",
        seeds=5,
        trials=30,
        sentence="The largest difference from a published figure is 0.9 points.",
        checks=(
            Check("MNIST-1D has the published shape", True, "4,000 and 1,000 signals of 40 numbers"),
            Check("the same seed gives the same bits", True, "2 of 2 trainings alike"),
        ),
        tables=(
            Table(
                title="Accuracy on MNIST-1D",
                columns=("model", "ordered", "published", "shuffled", "published"),
                rows=(*rows, ("linear", "0.318", "0.32", "0.321", "0.32")),
            ),
        ),
    )


def equal_epochs():
    curves = (learning_curve(MLP, 0.879, 0.55, 1), learning_curve(CNN, 0.872, 0.42, 2))
    gaps = rounded([-3.1, -2.2, -1.4, -0.9, -0.6, -0.4], 2)
    return Experiment(
        id="P1",
        title="Equally many epochs",
        claim="After 30 epochs the CNN is better than the MLP.",
        falsified_if="The interval of the difference after 30 epochs lies below +0.5 points.",
        verdict="refuted",
        estimate=-0.42,
        low=-0.71,
        high=-0.13,
        unit="accuracy points, CNN minus MLP",
        seeds=10,
        trials=20,
        sentence="After 30 epochs the CNN is 0.42 points worse (95 % interval 0.71 to 0.13 worse).",
        further=(
            Finding(
                id="P1.best-rate",
                claim="The same at the best learning rate of each.",
                falsified_if="The interval lies below +0.5 points.",
                verdict="undecided",
                estimate=0.35,
                low=-0.2,
                high=0.9,
                unit="accuracy points, CNN minus MLP",
                seeds=10,
                trials=8,
                sentence="At 0.1 for both, the CNN is 0.35 points better (-0.20 to 0.90): that allows both.",
            ),
        ),
        charts=(
            Chart(
                id="learning-curves", kind="curves", title="Test accuracy by epoch", x="epochs", y="test accuracy", lines=curves
            ),
            Chart(
                id="difference",
                kind="curves",
                title="CNN minus MLP, same seed and order",
                x="epochs",
                y="accuracy points",
                lines=(
                    Line(
                        name="CNN minus MLP",
                        x=EPOCHS,
                        y=gaps,
                        low=rounded(np.array(gaps) - 0.4, 2),
                        high=rounded(np.array(gaps) + 0.4, 2),
                    ),
                ),
            ),
        ),
    )


def equal_cost():
    levels = (0.80, 0.83, 0.85, 0.87)
    arms = ((MLP, (0.9, 2.1, 4.6, 11.0)), (CNN, (7.7, 19.5, 44.0, 130.0)))
    reached = tuple(
        Line(name=name, x=levels, y=seconds, low=rounded(np.array(seconds) * 0.85), high=rounded(np.array(seconds) * 1.2))
        for name, seconds in arms
    )
    curve = {arm.name: arm for arm in equal_epochs().charts[0].lines}
    by_seconds = tuple(
        replace(curve[name], x=rounded(each * np.array(curve[name].x))) for name, each in ((MLP, 0.31), (CNN, 0.83))
    )
    return Experiment(
        id="P2",
        title="Equal cost",
        claim="The extra time of the CNN is repaid: it reaches an accuracy sooner.",
        falsified_if="The interval of the ratio of times lies above 1 at every accuracy.",
        verdict="refuted",
        estimate=9.3,
        low=8.1,
        high=10.9,
        unit="ratio of seconds, CNN over MLP, to 0.85",
        seeds=10,
        trials=20,
        sentence="To an accuracy of 0.85 the CNN needs 9.3 times the seconds (8.1 to 10.9).",
        charts=(
            Chart(
                id="time-to-accuracy",
                kind="curves",
                title="Seconds until an accuracy is reached",
                x="validation accuracy",
                y="seconds of training",
                logarithmic="y",
                lines=reached,
            ),
            Chart(
                id="accuracy-by-seconds",
                kind="curves",
                title="Test accuracy by seconds of training",
                x="seconds of training",
                y="test accuracy",
                lines=by_seconds,
            ),
        ),
        notes=("2 of 10 seeds of the CNN did not reach 0.87 within 30 epochs; their times count as longer than that.",),
    )


PARETO = {
    "CNN 3,330": (3_330, 238_736, 8.1, 0.862),
    "MLP-4": (3_190, 3_176, 2.1, 0.817),
    "MLP": (55_050, 54_912, 3.1, 0.879),
    "MLP-233": (239_767, 239_291, 6.4, 0.888),
    "CNN 4-6": (1_772, 51_972, 3.9, 0.838),
}


def matched():
    def chart(id, place, x):
        lines = tuple(points(name, ((name, figures[place], figures[3], 0.004),)) for name, figures in PARETO.items())
        return Chart(
            id=f"accuracy-by-{id}",
            kind="points",
            title=x.split(",")[0].capitalize(),
            x=x,
            y="test accuracy",
            logarithmic="x",
            lines=lines,
        )

    return Experiment(
        id="P3",
        title="Matched parameters, matched arithmetic",
        claim="The number of parameters decides how good a model is.",
        falsified_if="Models of equally many parameters differ: the interval of their difference leaves out 0.",
        verdict="refuted",
        estimate=4.5,
        low=3.9,
        high=5.1,
        unit="accuracy points, CNN minus MLP-4",
        seeds=5,
        trials=25,
        sentence="With about 3,300 parameters each, the CNN is 4.5 points better than an MLP (3.9 to 5.1).",
        charts=(
            chart("parameters", 0, "parameters"),
            chart("macs", 1, "training MACs per image, forward"),
            chart("seconds", 2, "seconds of training, 10 epochs"),
        ),
    )


def permuted():
    return Experiment(
        id="P5",
        title="Pixels in another order",
        claim="The CNN uses that neighbouring pixels belong together.",
        falsified_if="The interval of what the CNN loses includes 0.",
        verdict="supported",
        estimate=-9.4,
        low=-10.6,
        high=-8.2,
        unit="accuracy points, CNN's loss minus MLP's",
        seeds=5,
        trials=40,
        sentence="With the pixels shuffled the CNN loses 9.5 points and the MLP 0.1.",
        checks=(Check("an MLP with its first weights in the same order computes the same", True, "largest difference 3e-15"),),
        charts=(
            Chart(
                id="permuted",
                kind="points",
                title="Test accuracy by order of the pixels",
                x="order (0: as it is)",
                y="test accuracy",
                lines=(
                    points(MLP, [("", order, 0.87 - 0.001 * order, 0.004) for order in range(4)]),
                    points(CNN, [("", order, (0.86, 0.765, 0.77, 0.76)[order], 0.006) for order in range(4)]),
                ),
            ),
        ),
    )


def upper_left():
    wide, middle = range(0, 29, 2), (12, 12)
    arms = (
        ("MLP", 3.0, 0.85),
        ("CNN, Flatten", 5.0, 0.84),
        ("CNN, average pooling", 40.0, 0.80),
        ("CNN, maximum pooling", 60.0, 0.82),
    )
    maps = [
        position_map(arm, at, wide, reach * (1.6 if at == middle and reach > 10 else 1), top, 0.03 if reach > 10 else 0)
        for at in ((0, 0), middle)
        for arm, reach, top in arms
    ]
    maps.append(position_map("CNN, Flatten", None, wide, None, 0.79))
    return Experiment(
        id="P6",
        title="Trained in one place, tested in all",
        claim="A CNN that saw an object in one place recognises it in any place.",
        falsified_if="Where the object's box does not touch the trained one, less than half of the accuracy is left.",
        verdict="refuted",
        estimate=0.19,
        low=0.16,
        high=0.22,
        unit="ratio of accuracies, elsewhere over in place",
        seeds=5,
        trials=55,
        sentence="The question's own CNN keeps 0.19 of its accuracy elsewhere (0.16 to 0.22): about what guessing gives.",
        further=(
            Finding(
                id="P6.mlp",
                claim="A feed-forward network detects only where it was trained.",
                falsified_if="Its accuracy elsewhere is above 0.15.",
                verdict="supported",
                estimate=0.103,
                low=0.096,
                high=0.11,
                unit="accuracy elsewhere",
                seeds=5,
                trials=10,
                sentence="Elsewhere the MLP is right in 10.3 % (9.6 to 11.0): guessing.",
            ),
            Finding(
                id="P6.pooled",
                claim="A CNN with global pooling recognises it in any place.",
                falsified_if="Less than half of the accuracy is left.",
                verdict="supported",
                estimate=0.93,
                low=0.91,
                high=0.95,
                unit="ratio of accuracies, elsewhere over in place",
                seeds=5,
                trials=20,
                sentence="With global maximum pooling 0.93 is left (0.91 to 0.95), when trained in the middle.",
            ),
        ),
        checks=(
            Check("weights of pixels that were never lit stay as they were", True, "37,632 of 37,632 bit for bit, 5 seeds"),
            Check("maps of whole strides are exactly shifted", True, "largest difference 0.0"),
        ),
        maps=tuple(maps),
        tables=(
            Table(
                title="Accuracy in place and elsewhere",
                columns=("arm", "trained at", "in place", "elsewhere", "half lost after, px"),
                rows=(
                    ("MLP", "(0, 0)", "0.850", "0.103", "2.1"),
                    ("CNN, Flatten", "(0, 0)", "0.838", "0.159", "4.2"),
                    ("CNN, average pooling", "(12, 12)", "0.797", "0.741", "more than 16"),
                ),
            ),
        ),
        notes=("Average pooling divides by 81 cells; its learning rate was chosen on the validation images.",),
    )


def augmented():
    shown = (1, 4, 16, 64, 225)
    worst = {
        MLP: (0.08, 0.10, 0.21, 0.44, 0.61),
        CNN: (0.09, 0.12, 0.36, 0.66, 0.74),
        "CNN, maximum pooling": (0.70, 0.74, 0.77, 0.78, 0.78),
    }
    lines = tuple(
        Line(name=arm, x=shown, y=figures, low=rounded(np.array(figures) - 0.03), high=rounded(np.array(figures) + 0.03))
        for arm, figures in worst.items()
    )
    return Experiment(
        id="P8",
        title="More places in training instead",
        claim="Only a CNN can do this.",
        falsified_if="An MLP comes within 0.9 of its best with at most 225 places.",
        verdict="undecided",
        unit="places",
        seeds=3,
        trials=45,
        sentence="The MLP reaches 0.72 of its best with 225 places (0.66 to 0.91).",
        charts=(
            Chart(
                id="worst-place",
                kind="curves",
                title="Accuracy at the worst place",
                x="places in training",
                y="test accuracy",
                logarithmic="x",
                lines=lines,
            ),
        ),
    )


def sample_efficiency():
    sizes = (100, 300, 1_000, 3_000, 10_000, 30_000, 60_000)

    def task(id, title, ends):
        lines = []
        for arm, (start, end) in ends.items():
            y = np.array([end - (end - start) * (100 / n) ** 0.35 for n in sizes])
            half = 0.03 * (100 / np.array(sizes)) ** 0.3
            lines.append(Line(name=arm, x=sizes, y=rounded(y), low=rounded(y - half), high=rounded(y + half)))
        return Chart(
            id=id, kind="curves", title=title, x="training images", y="test accuracy", logarithmic="x", lines=tuple(lines)
        )

    return Experiment(
        id="P9",
        title="How much data each needs",
        claim="The CNN needs less data where the object stands in the middle.",
        falsified_if="The interval of the data multiplier lies at or below 1.",
        verdict="undecided",
        estimate=1.2,
        low=0.8,
        high=1.9,
        unit="images of the MLP over images of the CNN",
        seeds=5,
        trials=400,
        sentence="For the same accuracy the MLP needs 1.2 times the images (0.8 to 1.9): that allows both.",
        charts=(
            task(
                "centred",
                "Object in the middle",
                {MLP: (0.66, 0.90), CNN: (0.64, 0.895), "MLP-233": (0.67, 0.905), "CNN 16-64": (0.65, 0.92)},
            ),
            task(
                "anywhere",
                "Object anywhere",
                {MLP: (0.22, 0.66), CNN: (0.28, 0.80), "MLP-233": (0.24, 0.7), "CNN 16-64": (0.33, 0.87)},
            ),
        ),
    )


NETWORKS = (
    ("CNN", 3_330, 619e3, 0.8, 0.02),
    ("MLP", 55_050, 115e3, 0.31, 0.31),
    ("MLP-233", 239_767, 480e3, 0.64, 1.4),
    ("ResNet50", 25.6e6, 12.3e9, 9_000.0, 143.0),
    ("AlexNet", 61e6, 2.1e9, 2_000.0, 341.0),
    ("VGG16", 138.4e6, 46.4e9, 33_000.0, 775.0),
)


def driven():
    def chart(id, title, x, y, places):
        rows = [(name, figures[places[0]], figures[places[1]], 0.0) for name, *figures in NETWORKS]
        line = replace(points("networks", rows, labels=True), low=(), high=())
        return Chart(id=id, kind="points", title=title, x=x, y=y, logarithmic="xy", lines=(line,))

    return Experiment(
        id="P10",
        title="What parameters do drive",
        claim="Few parameters make training fast.",
        falsified_if="The rank correlation of time with parameters is not above that with arithmetic.",
        verdict="refuted",
        estimate=0.54,
        low=-0.2,
        high=0.9,
        unit="rank correlation of step time and parameters",
        seeds=1,
        sentence="Step time follows the arithmetic (rank correlation 0.94), what machines exchange the parameters (1.00).",
        charts=(
            chart("time-by-parameters", "Step time by parameters", "parameters", "ms per step", (0, 2)),
            chart("sent-by-parameters", "Gradient exchange by parameters", "parameters", "ms per exchange", (0, 3)),
        ),
        tables=(
            Table(
                title="What 4 bytes per parameter come to",
                columns=("network", "checkpoint", "exchange, 8 workers"),
                rows=(("CNN", "13 kB", "0.02 ms"), ("MLP", "220 kB", "0.31 ms"), ("VGG16", "553 MB", "775 ms")),
            ),
        ),
    )


def verdicts():
    return (
        Answer(
            "The CNN does far more computation", "supported", "5.40 times the training MACs; counted, no interval.", ("P10",)
        ),
        Answer(
            "A feed-forward network detects a car only where it saw one",
            "supported",
            "Elsewhere the MLP is right in 10.3 % (95 % interval 9.6 to 11.0): guessing. Shown in 225 places, it is not.",
            ("P6.mlp", "P8"),
        ),
        Answer(
            "A CNN generalises to any place",
            "refuted",
            "The question's CNN keeps 0.19 of its accuracy (0.16 to 0.22); with global pooling it keeps 0.93 (0.91 to 0.95).",
            ("P6", "P6.pooled"),
        ),
        Answer(
            "Fewer parameters train faster",
            "refuted",
            "16.5 times fewer parameters, 2.7 times the time (2.6 to 2.8).",
            ("P10",),
        ),
        Answer(
            "The CNN is worth its time here",
            "undecided",
            "0.35 points better (-0.20 to 0.90) at each one's best rate.",
            ("P1", "P2"),
        ),
        Answer("Sharing weights is the point", "not measured", "P4 was left out of this run.", ()),
    )


def evidence():
    """Many experiments, of every shape that a record may hold."""
    return Evidence(
        version="0.0",
        tier="standard",
        models=(MLP, CNN),
        data="made-up figures",
        backend="jax",
        machine="none, 2 cores",
        trainings=645,
        training_seconds=8_100.0,
        seconds=4_310.0,
        verdicts=verdicts(),
        experiments=(
            harness(),
            equal_epochs(),
            equal_cost(),
            matched(),
            permuted(),
            upper_left(),
            augmented(),
            sample_efficiency(),
            driven(),
        ),
        agreement=Agreement(
            trials=12, largest_difference=0.0031, mean_difference=-0.0002, engine_seconds=61.0, keras_seconds=933.0
        ),
        notes=(MADE_UP,),
    )


def small():
    """A few experiments with charts of both kinds and maps, quick to draw."""
    maps = upper_left().maps
    few = (
        harness(),
        replace(equal_epochs(), charts=equal_epochs().charts[:1]),
        matched(),
        replace(upper_left(), maps=(maps[0], maps[6], maps[8])),
    )
    return replace(evidence(), experiments=few)


def untrusted():
    """The control did not pass: no verdicts, a failed check, nothing else."""
    control = replace(
        harness(),
        verdict="refuted",
        checks=(Check("the same seed gives the same bits", False, "1 of 2 trainings alike: seed 3 differs at step 1,200"),),
    )
    left = tuple(replace(answer, verdict="not measured", sentence="The control P0 did not pass.") for answer in verdicts())
    return replace(evidence(), tier="smoke", verdicts=left, experiments=(control,), agreement=None)


def hostile():
    """Texts that would be markup, names longer than any column, a map of one cell, a chart of one point, nothing known."""
    evil = '<img src=x onerror="alert(2)"> [red]& more'
    long = "a_very_long_name_without_any_space_that_fits_into_no_column_of_any_table_" * 2
    one = Experiment(
        id="P6",
        title=evil,
        claim=long,
        falsified_if=evil,
        verdict="not measured",
        sentence=evil,
        charts=(
            Chart(id=evil, kind="points", title=evil, x=evil, y=long, lines=(points(evil, ((evil, 1, 0.5, 0.1),), True),)),
            Chart(id="empty", kind="curves", title="empty", x="x", y="y", lines=()),
        ),
        maps=(position_map(evil, (0, 0), (0,), 1.0, 0.9),),
        tables=(Table(title=evil, columns=(evil, long), rows=((long, evil),)),),
        checks=(Check(evil, True, long),),
        notes=(evil, long),
    )
    return replace(
        evidence(),
        models=("file.py:f", long),
        verdicts=(Answer(evil, "undecided", long, ("P6",)),),
        experiments=(one,),
        agreement=None,
        notes=(MADE_UP, evil),
    )


RECORDS = {"evidence": evidence, "evidence_untrusted": untrusted, "evidence_hostile": hostile}
PAGES = {"evidence_small": small, "evidence_untrusted": untrusted, "evidence_hostile": hostile}
"""For tests that draw pages, which takes longer than the terminal."""

PLAN = Plan(
    tier="standard",
    models=("MLP", "CNN"),
    data="made-up images",
    backend="jax",
    store="trials.sqlite",
    workers=2,
    protocols=(
        PlannedProtocol(id="P0", title="Can this harness be trusted?", trainings=30, done=30, seconds=75.0),
        PlannedProtocol(id="P1", title="Equally many epochs", trainings=28, done=7, seconds=900.0),
        PlannedProtocol(
            id="P6", title="One place", trainings=0, done=0, seconds=0.0, left_out="CNN does not accept 42 x 42 pixels"
        ),
    ),
    trainings=58,
    done=37,
    seconds=340.0,
    notes=("Keras trains CNN, which is slower.",),
)
