"""P7, stage by stage: what moves along when the image moves, and what does not.

Nothing is trained for this alone except a CNN with blurred pooling. The object moves right, by up to 8 pixels, and each stage
of the forward pass is compared with itself moved alike. Convolutions follow every shift, and poolings those that are a multiple
of their stride, to the last bit, as far as a map holds all that sees the object; this is equivariance. Whether the answer stays
the same is another matter: invariance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from epochwise.experiments import canvas as on
from epochwise.experiments.data import halved, images, on_canvas
from epochwise.experiments.models import Description, ours, title
from epochwise.experiments.protocols import p8
from epochwise.experiments.record import Chart, Check, Experiment, Finding, Table, Verdict, band
from epochwise.experiments.stages import Stage, forward, shift_error
from epochwise.experiments.statistics import mean_interval, paired_interval, paired_p_value
from epochwise.experiments.study import Study
from epochwise.trials.trial import Result, Trial

ID = "P7"
TITLE = "Stage by stage: what moves along"
FURTHEST = 8
"""Pixels that the object moves, on canvases with room for it."""
BLURRED = "cnn_blur"
MOVED = 0.01
"""Relative change of the logits from which on they are said to move."""

_EXACT_IMAGES = 8
_FLIP_IMAGES, _AT_ONCE = 200, 50
_FURTHEST = 4
_KNOWN = {"conv", "pool", "blur-pool", "flatten", "gap", "gmp", "dense", "classes"}


@dataclasses.dataclass(frozen=True)
class Shifted:
    """What shifts did to one trained model.

    Attributes:
        errors: by stage, the mean relative error at each shift.
        exact: by stage, whether the error was exactly 0 for all images at each shift.
        whole: by stage, whether all that sees the object lies within the map at each shift, before and after it.
        strides: by stage; 0 behind the last map.
        accuracy: mean over all places.
        flips: share of images whose class changes when they move by one pixel.
        consistency: share of images with one class at two random places up to 4 pixels away.
    """

    errors: dict[str, list[float]]
    exact: dict[str, list[bool]]
    whole: dict[str, list[bool]]
    strides: dict[str, int]
    accuracy: float
    flips: float
    consistency: float


def arms(study: Study) -> list[Description]:
    """Those of P8 and the blurred one, as far as their layers are known; a user's own model cannot be looked into."""
    every = [*p8.arms(study), ours(BLURRED)]
    return [model for model in every if {str(layer[0]) for layer in model.get("layers", (["?"],))} <= _KNOWN]


def shapes(study: Study) -> list[tuple[int, int, int]]:
    """Shapes of samples that both models must accept."""
    return p8.shapes(study)


def shifts(study: Study) -> range:
    """Pixels by which the object moves without leaving the canvas."""
    canvas = on.large(study)
    return range(min(FURTHEST, canvas.side - canvas.size[1] - canvas.centre[1]) + 1)


def plan(study: Study) -> list[Trial]:
    """Trainings of P8 with the object everywhere, and the same for the blurred one."""
    trials: dict[Trial, None] = {}
    for model in arms(study):
        trials |= dict.fromkeys(p8.tuned(study, model).trials)
        trials |= dict.fromkeys(p8.everywhere(study, model, p8.seeds(study)))
    return list(trials)


def p_value(study: Study, results: Mapping[str, Result]) -> float:
    """Of the hypothesis that the second model's logits move just so much that it is not said of them."""
    model = next((each for each in arms(study) if each == study.models[1]), arms(study)[0])
    trained = [results[trial.key] for trial in p8.everywhere(study, model, p8.seeds(study))]
    moved = [_moved(study, model["layers"], _weights(each, "last"), [on.STRIDE])[0]["logits"].error for each in trained]
    return paired_p_value([float(each.mean()) for each in moved], [MOVED] * len(moved))


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """Errors by stage and shift, and how often the answer flips."""
    found: dict[str, list[Shifted]] = {}
    drawn: dict[str, Shifted] = {}
    names = {str(model["name"]): title(model) for model in arms(study)}
    for model in arms(study):
        trained = [results[trial.key] for trial in p8.everywhere(study, model, p8.seeds(study))]
        name = str(model["name"])
        found[name] = [_shifted(study, model["layers"], each, "last", seed) for seed, each in enumerate(trained)]
        drawn[name] = _shifted(study, model["layers"], trained[0], "first", 0)
    second = next((name for name in found if name == str(study.models[1]["name"])), next(iter(found)))
    first = next((name for name in found if name == str(study.models[0]["name"])), second)
    seeds, trials = len(p8.seeds(study)), len(plan(study))
    checks = tuple(check for name in found for check in _checks(names[name], [*found[name], drawn[name]]))
    moved = mean_interval([each.errors["logits"][on.STRIDE] for each in found[second]])
    verdict: Verdict = "refuted" if moved.low > MOVED else "supported" if moved.high <= MOVED else "undecided"
    if _whole(found[second]) != _maps(found[second]):  # then the end of a map may be why the logits change
        verdict = "undecided"
    return Experiment(
        id=ID,
        title=TITLE,
        claim=f"Because convolutions move along with the image, what {names[second]} answers does not depend on the place.",
        falsified_if=f"its logits change by more than {MOVED:g} of their size at a shift of {on.STRIDE} pixels, while all maps "
        "move along exactly",
        verdict=verdict,
        **moved._asdict(),
        unit=f"relative change of the logits at a shift of {on.STRIDE} pixels",
        seeds=seeds,
        trials=trials,
        sentence=f"At a shift of {on.STRIDE} pixels {_moving(names[second], found[second])}, and its logits "
        f"change by {100 * moved.estimate:.0f} per cent [{100 * moved.low:.0f}, {100 * moved.high:.0f}].",
        further=(*_flips(found, names, first, second, seeds), *_blur(found, names, second, seeds)),
        checks=checks,
        charts=tuple(_chart(names[name], name, each) for name, each in found.items() if len(each[0].errors) > 1),
        tables=(_errors_table(found, drawn, names, shifts(study)), _flips_table(found, names)),
        notes=(
            f"Trained with the object at all places of P8, {seeds} seeds. {_EXACT_IMAGES} test images for the stages, in "
            f"float64; {_FLIP_IMAGES} for the flips. The object begins {on.large(study).centre[1]} pixels from the left, and "
            f"{_near_the_border(found)}.",
            "Flips are to be read beside the accuracy: a guess flips easily, and an answer that is always the same never does.",
            "Where a shift is no multiple of a stage's stride, the map is compared with the better of its two neighbours.",
            *(
                f"{title(model)} is left out: only models whose layers are known here can be looked into."
                for model in study.models
                if str(model["name"]) not in found
            ),
        ),
    )


def _weights(result: Result, which: str) -> list[NDArray[Any]]:
    return [result.arrays[f"{which}_{number}"] for number in range(sum(name.startswith(f"{which}_") for name in result.arrays))]


def _shifted(study: Study, layers: Sequence[Sequence[Any]], result: Result, which: str, seed: int) -> Shifted:
    canvas, weights = on.large(study), _weights(result, which)
    centre = np.array(canvas.centre)
    objects = halved(images(study.data.source).x_test[:_FLIP_IMAGES])

    def classes(places: NDArray[np.int64]) -> NDArray[np.int64]:
        shown = on_canvas(objects, places, canvas.side)
        parts = [shown[first : first + _AT_ONCE] for first in range(0, len(shown), _AT_ONCE)]
        found = [np.argmax(forward(layers, weights, part, exact=False)[-1].values, axis=-1) for part in parts]
        return np.concatenate(found)

    moved = _moved(study, layers, weights, shifts(study))
    generator = np.random.default_rng(seed)
    furthest = np.minimum(_FURTHEST, np.minimum(centre, canvas.side - np.array(canvas.size) - centre))
    near = generator.integers(-furthest, furthest + 1, (2, len(objects), 2)) + centre
    return Shifted(
        errors={stage: [float(each[stage].error.mean()) for each in moved] for stage in moved[0]},
        exact={stage: [not each[stage].error.any() for each in moved] for stage in moved[0]},
        whole={stage: [each[stage].whole for each in moved] for stage in moved[0]},
        strides={stage: each.stride for stage, each in moved[0].items()},
        accuracy=float(on.accuracy_map(result, canvas).mean()),
        flips=float((classes(centre) != classes(np.add(centre, (0, 1)))).mean()),
        consistency=float((classes(near[0]) == classes(near[1])).mean()),
    )


class _Moved(NamedTuple):
    """What a shift did to a stage.

    Attributes:
        stride: of the stage; 0 behind the last map.
        error: for each image.
        whole: whether all that sees the object lies within the map, before and after.
    """

    stride: int
    error: NDArray[np.float64]
    whole: bool


def _moved(
    study: Study, layers: Sequence[Sequence[Any]], weights: Sequence[NDArray[Any]], shifts: Iterable[int]
) -> list[dict[str, _Moved]]:
    """Each stage under each shift."""
    canvas = on.large(study)
    first = canvas.centre[1]
    last = first + canvas.size[1] - 1
    still = _stages(study, layers, weights, 0)
    found = []
    for shift in shifts:
        pairs = zip(still, _stages(study, layers, weights, shift), strict=True)
        found.append(
            {
                before.name: _Moved(
                    before.stride,
                    shift_error(before, after, shift),
                    bool(before.stride) and before.holds(first, last) and after.holds(first + shift, last + shift),
                )
                for before, after in pairs
            }
        )
    return found


def _stages(study: Study, layers: Sequence[Sequence[Any]], weights: Sequence[NDArray[Any]], shift: int) -> list[Stage]:
    canvas = on.large(study)
    objects = halved(images(study.data.source).x_test[:_EXACT_IMAGES])
    return forward(layers, weights, on_canvas(objects, np.add(canvas.centre, (0, shift)), canvas.side))


def _checks(name: str, found: Sequence[Shifted]) -> list[Check]:
    """Maps of convolutions and largest values follow whole strides, but for a border: a blur has one."""
    made = []
    for stage, stride in found[0].strides.items():
        if not stride or "blur" in name:
            continue
        shifts = [shift for shift, whole in enumerate(found[0].whole[stage]) if whole and shift % stride == 0]
        if shifts in ([], [0]):
            continue
        wrong = [shift for shift in shifts for each in found if not each.exact[stage][shift]]
        made.append(
            Check(
                f"{name}: {stage} moves along bit for bit at every multiple of {stride} px, before and after training",
                not wrong,
                f"shifts {', '.join(map(str, shifts))}; {len(wrong)} differ",
            )
        )
    return made


def _moving(name: str, found: Sequence[Shifted]) -> str:
    """Which maps are asked to move along."""
    whole = _whole(found)
    if not whole:
        return f"no map of {name} holds all that sees the object"
    return f"{'all maps' if whole == _maps(found) else ' and '.join(whole)} of {name} move along to the last bit"


def _maps(found: Sequence[Shifted]) -> list[str]:
    return [stage for stage, stride in found[0].strides.items() if stride]


def _whole(found: Sequence[Shifted]) -> list[str]:
    """The maps that hold all that sees the object, at a shift of a whole stride of the last one."""
    return [stage for stage in _maps(found) if found[0].whole[stage][on.STRIDE]]


def _near_the_border(found: Mapping[str, Sequence[Shifted]]) -> str:
    """How far what sees the object stays from a border, in what is asked to move along."""
    asked = [each for name, several in found.items() if name != BLURRED for each in several]
    whole = [each.whole[stage] for each in asked for stage, stride in each.strides.items() if stride]
    cut = [held.index(False) for held in whole if not all(held)]
    if not cut:
        return "never comes near the border"
    return f"from a shift of {min(cut)} pixels on some maps end before all that sees it, and are not asked to move along"


def _flips(found: Mapping[str, list[Shifted]], names: Mapping[str, str], first: str, second: str, seeds: int) -> list[Finding]:
    if first == second:
        return []
    difference = paired_interval([each.flips for each in found[first]], [each.flips for each in found[second]])
    verdict: Verdict = "supported" if difference.low > 0 else "refuted" if difference.high < 0 else "undecided"
    return [
        Finding(
            id=f"{ID}.flips",
            claim=f"A shift of one pixel changes the answer of {names[first]} more often than that of {names[second]}.",
            falsified_if="the interval of the difference lies below 0",
            verdict=verdict,
            **difference.times(100)._asdict(),
            unit="points of images whose class changes",
            seeds=seeds,
            trials=2 * seeds,
            sentence=f"One pixel changes the class of {_percent([each.flips for each in found[first]])} per cent of the images "
            f"for {names[first]}, and of {_percent([each.flips for each in found[second]])} for {names[second]}.",
        )
    ]


def _blur(found: Mapping[str, list[Shifted]], names: Mapping[str, str], second: str, seeds: int) -> list[Finding]:
    if BLURRED not in found or second == BLURRED:
        return []
    difference = paired_interval([each.flips for each in found[second]], [each.flips for each in found[BLURRED]])
    verdict: Verdict = "supported" if difference.low > 0 else "refuted" if difference.high < 0 else "undecided"
    return [
        Finding(
            id=f"{ID}.blur",
            claim=f"Blurring before each second value is dropped makes {names[second]} change its answer less often.",
            falsified_if="the interval of the difference lies below 0",
            verdict=verdict,
            **difference.times(100)._asdict(),
            unit="points of images whose class changes",
            seeds=seeds,
            trials=2 * seeds,
            sentence=f"One pixel changes the class of {_percent([each.flips for each in found[BLURRED]])} per cent of images "
            f"with blurred pooling, and of {_percent([each.flips for each in found[second]])} without.",
        )
    ]


def _chart(name: str, arm: str, found: Sequence[Shifted]) -> Chart:
    lines = []
    for stage in found[0].errors:
        shifts = range(len(found[0].errors[stage]))
        intervals = [mean_interval([each.errors[stage][shift] for each in found]) for shift in shifts]
        lines.append(band(stage, tuple(float(shift) for shift in shifts), intervals))
    return Chart(
        id=f"stages-{arm}",
        kind="curves",
        title=f"How far each stage is from moving along: {name}",
        x="shift in pixels",
        y="relative error",
        lines=tuple(lines),
    )


def _errors_table(
    found: Mapping[str, list[Shifted]], drawn: Mapping[str, Shifted], names: Mapping[str, str], shifts: Iterable[int]
) -> Table:
    rows = []
    for name, each in found.items():
        for text, shifted in (("trained", each), ("as drawn", [drawn[name]])):
            for stage in each[0].errors:
                means = [np.mean([one.errors[stage][shift] for one in shifted]) for shift in shifts]
                rows.append((names[name], text, stage, *("0" if not mean else f"{mean:.2g}" for mean in means)))
    columns = ("model", "weights", "stage", *(f"{shift} px" for shift in shifts))
    return Table(title="Relative error of each stage by shift; 0 is exact", columns=columns, rows=tuple(rows))


def _flips_table(found: Mapping[str, list[Shifted]], names: Mapping[str, str]) -> Table:
    return Table(
        title="Answers that change, per cent of the images",
        columns=("model", "flipped by 1 px", "the same at two places up to 4 px away", "accuracy over all places"),
        rows=tuple(
            (
                names[name],
                _percent([one.flips for one in each]),
                _percent([one.consistency for one in each]),
                _percent([one.accuracy for one in each]),
            )
            for name, each in found.items()
        ),
    )


def _percent(values: Sequence[float]) -> str:
    return mean_interval(values).times(100).told(1)
