"""P6, the upper-left test: trained with the object at one place only, where else is it recognised?

The answer to the question says that a feed-forward network "would only detect a car in the upper-left corner", and that a CNN
"would generalise" to any place. Here is that experiment, for the two models themselves, and for CNNs whose head forgets where
something was (the mean, or the largest, over the last map).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from epochwise.experiments import canvas as on
from epochwise.experiments.canvas import Canvas, Place
from epochwise.experiments.models import Description, ours, title
from epochwise.experiments.protocols import p6_checks, p8
from epochwise.experiments.record import Experiment, Finding, PositionMap, Table, Verdict
from epochwise.experiments.statistics import Interval, mean_interval, paired_p_value
from epochwise.experiments.study import RATE, Study, Tuned
from epochwise.trials.trial import Result, Trial

ID = "P6"
TITLE = "Trained in one place: recognised where else?"
KEPT, LOST = 0.9, 0.5
"""Shares of the accuracy that is left at places that have no pixel in common with the trained one: generalises, does not."""
ABOVE_CHANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Arm:
    """A model, trained with the object at one place of a canvas."""

    model: Description
    canvas: Canvas
    place: Place
    exact: bool = False  # whether its weights are needed, for what must hold exactly

    @property
    def name(self) -> str:
        """Of the model and the place."""
        return f"{title(self.model)}, trained at {self.place} of {self.canvas.side} x {self.canvas.side}"

    def tuned(self, study: Study) -> Tuned:
        """Its learning rate: the best for the object in the centre of its canvas, wherever it is trained."""
        return on.tuned(study, self.model, self.canvas, [self.canvas.centre])

    def trials(self, study: Study, rate: float | None) -> list[Trial]:
        """A training of each seed; none while its learning rate is not known."""
        if rate is None:
            return []
        place = [self.place]
        return [on.training(study, self.model, self.canvas, place, seed, rate, keep_weights=self.exact) for seed in study.seeds]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Maps of an arm ``(seeds, down, right)``, and what follows from them, an interval over seeds each."""

    arm: Arm
    maps: np.ndarray
    chance: float
    enough: float

    @property
    def _in_place(self) -> np.ndarray:
        return on.at(self.maps, self.arm.canvas, self.arm.place)

    @property
    def _elsewhere(self) -> np.ndarray:
        found: np.ndarray = self.maps[:, self.arm.canvas.disjoint(self.arm.place)].mean(axis=1)
        return found

    @property
    def in_place(self) -> Interval:
        """Accuracy where it was trained."""
        return mean_interval(self._in_place)

    @property
    def elsewhere(self) -> Interval:
        """Mean accuracy at all places that have no pixel in common with that one."""
        return mean_interval(self._elsewhere)

    @property
    def kept(self) -> Interval:
        """Share of the accuracy that is left there."""
        return mean_interval(self.shares)

    @property
    def shares(self) -> np.ndarray:
        """The same for each seed."""
        found: np.ndarray = self._elsewhere / self._in_place
        return found

    @property
    def half_way(self) -> Interval | None:
        """Pixels of shift at which half of what is above chance is lost; ``None`` where it is not lost within the canvas."""
        found = [self._half_way(each) for each in self.maps]
        known = [each for each in found if each is not None]
        return mean_interval(known) if len(known) == len(found) else None

    def _half_way(self, accuracy: np.ndarray) -> float | None:
        """Along rows and columns, at equal distances taken together."""
        offsets = np.array(self.arm.canvas.offsets)
        down, right = (self.arm.canvas.offsets.index(each) for each in self.arm.place)
        along = {
            int(shift): np.mean(
                [accuracy[place, right] for place in np.flatnonzero(abs(offsets - offsets[down]) == shift)]
                + [accuracy[down, place] for place in np.flatnonzero(abs(offsets - offsets[right]) == shift)]
            )
            for shift in sorted(set(abs(offsets - offsets[down])))
        }
        shifts, heights = np.array(list(along)), np.array(list(along.values()))
        level = (heights[0] + self.chance) / 2
        below = np.flatnonzero(heights < level)
        if not below.size or not below[0]:
            return None
        after = int(below[0])
        share = (heights[after - 1] - level) / (heights[after - 1] - heights[after])
        return float(shifts[after - 1] + share * (shifts[after] - shifts[after - 1]))

    @property
    def dip(self) -> Interval | None:
        """Accuracy at disjoint places whose shift is a multiple of the last map's stride, minus that half a stride off."""
        down, right = (np.abs(np.array(self.arm.canvas.offsets) - at) % on.STRIDE for at in self.arm.place)
        apart = self.arm.canvas.disjoint(self.arm.place)
        on_phase, off_phase = (apart & (down == rest)[:, None] & (right == rest)[None, :] for rest in (0, on.STRIDE // 2))
        if not on_phase.any() or not off_phase.any():
            return None
        return mean_interval(self.maps[:, on_phase].mean(axis=1) - self.maps[:, off_phase].mean(axis=1))

    @property
    def learnt(self) -> bool:
        """Whether it is well above chance where it was trained."""
        return self.in_place.low > self.enough


def arms(study: Study) -> list[Arm]:
    """Every model from the corner and from the centre of the large canvas, and the pair from the corner of its own size."""
    wide, narrow = on.large(study), on.small(study)
    pooled = [ours(name) for name in study.sizes.canvas_pooled]
    return [
        *(
            Arm(model, wide, place, exact=model in study.models)
            for place in (wide.corner, wide.centre)
            for model in (*study.models, *pooled)
        ),
        *(Arm(model, narrow, narrow.corner) for model in study.models),
    ]


def shapes(study: Study) -> list[tuple[int, int, int]]:
    """Shapes of samples that both models must accept."""
    return [on.shape(study, on.large(study)), on.shape(study, on.small(study))]


def plan(study: Study) -> list[Trial]:
    """Learning rates first; then each arm with each seed, and the ceiling: the second model trained at all places."""
    trials: dict[Trial, None] = {}
    for arm in arms(study):
        found = arm.tuned(study)
        trials |= dict.fromkeys(found.trials) | dict.fromkeys(arm.trials(study, found.rate))
    trials |= dict.fromkeys(p8.tuned(study, study.models[1]).trials)
    return list(trials | dict.fromkeys(p8.everywhere(study, study.models[1], p8.seeds(study))))


def p_value(study: Study, results: Mapping[str, Result]) -> float:
    """Of the share that the main verdict rejects: that it is where generalising ends, or where losing it begins."""
    claimed = next(arm for arm in arms(study) if arm.model == study.models[1])
    shares = _outcome(study, claimed, results).shares
    return paired_p_value(shares, np.full(len(shares), KEPT if shares.mean() > KEPT else LOST))


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """What is left of the accuracy at disjoint places, per model."""
    found = {(str(arm.model["name"]), arm.canvas.side, arm.place): _outcome(study, arm, results) for arm in arms(study)}
    first, second = (str(model["name"]) for model in study.models)
    wide, narrow = on.large(study), on.small(study)
    claimed = found[second, wide.side, wide.corner]
    trials, seeds = len(plan(study)), len(study.seeds)
    ceiling = np.stack(
        [on.accuracy_map(results[each.key], wide) for each in p8.everywhere(study, study.models[1], p8.seeds(study))]
    )
    further = [_only_there(f"{ID}.first", found[first, wide.side, wide.corner], seeds)]
    further += [_only_there(f"{ID}.first-centre", found[first, wide.side, wide.centre], seeds)]
    further += [_anywhere(f"{ID}.second-centre", found[second, wide.side, wide.centre], seeds)]
    for name in study.sizes.canvas_pooled:
        short = name.removeprefix("cnn_16_64_").replace("_", "-")
        further += [_anywhere(f"{ID}.{short}", found[name, wide.side, wide.corner], seeds)]
        further += [_anywhere(f"{ID}.{short}-centre", found[name, wide.side, wide.centre], seeds)]
    further += [_only_there(f"{ID}.first-own-size", found[first, narrow.side, narrow.corner], seeds)]
    further += [_anywhere(f"{ID}.second-own-size", found[second, narrow.side, narrow.corner], seeds)]
    main = _anywhere(ID, claimed, seeds)
    return Experiment.of(
        main,
        title=TITLE,
        seeds=seeds,
        trials=trials,
        further=tuple(further),
        checks=p6_checks.checks(study, wide, [(arm, _trials(study, arm, results)) for arm in arms(study) if arm.exact]),
        maps=(
            *(_map(each, "" if each.arm.canvas == wide else f" on {narrow.side} x {narrow.side}") for each in found.values()),
            PositionMap(
                arm=title(study.models[1]),
                trained_at=None,
                offsets=wide.offsets,
                accuracy=_rows(ceiling.mean(axis=0)),
            ),
        ),
        tables=(_table(list(found.values()), ceiling),),
        notes=(
            f"The object is an image at half its size, on a canvas of {wide.side} x {wide.side}; the last two findings have "
            f"one of {narrow.side} x {narrow.side}, on which the two models have exactly the question's size.",
            f"Each arm is trained on {on.samples(study):,} images for {study.sizes.canvas_epochs} epochs, with the learning "
            f"rate that did best on validation images in the centre, with one seed: {_rates(study)}. A verdict at "
            f"Keras's {RATE:g} alone could be about the rate.",
            f"At each place {study.sizes.position_images:,} test images are looked at, the same for all places and arms.",
        ),
    )


def _trials(study: Study, arm: Arm, results: Mapping[str, Result]) -> list[Result]:
    return [results[trial.key] for trial in arm.trials(study, arm.tuned(study).rate)]


def _outcome(study: Study, arm: Arm, results: Mapping[str, Result]) -> Outcome:
    maps = np.stack([on.accuracy_map(result, arm.canvas) for result in _trials(study, arm, results)])
    return Outcome(arm, maps, study.chance, study.enough)


def _anywhere(name: str, found: Outcome, seeds: int) -> Finding:
    """Whether what was learnt in one place holds everywhere; not asked of an arm that learnt nothing."""
    kept = found.kept
    verdict: Verdict = "supported" if kept.low > KEPT else "refuted" if kept.high < LOST else "undecided"
    if not found.learnt:
        verdict = "not measured"
    return Finding(
        id=name,
        claim=f"{found.arm.name} alone, recognises the object anywhere.",
        falsified_if=f"less than {LOST:g} of its accuracy there is left, upper end, at places without a common pixel",
        verdict=verdict,
        **kept._asdict(),
        unit="share of the accuracy in place that is left at disjoint places",
        seeds=seeds,
        trials=seeds,
        sentence=f"{found.arm.name}: {_percent(found.in_place)} per cent there, {_percent(found.elsewhere)} at disjoint "
        f"places; {kept.told(2)} of it is left.{_told(found)}",
    )


def _only_there(name: str, found: Outcome, seeds: int) -> Finding:
    """Whether what was learnt in one place holds nowhere else."""
    elsewhere, limit = found.elsewhere, found.chance + ABOVE_CHANCE
    verdict: Verdict = "supported" if elsewhere.high < limit else "refuted" if elsewhere.low > limit else "undecided"
    if not found.learnt:
        verdict = "not measured"
    return Finding(
        id=name,
        claim=f"{found.arm.name} alone, recognises the object only there.",
        falsified_if=f"its accuracy at disjoint places is above {limit:.2f}, lower end (chance is {found.chance:.2f})",
        verdict=verdict,
        **elsewhere._asdict(),
        unit="accuracy at disjoint places",
        seeds=seeds,
        trials=seeds,
        sentence=f"{found.arm.name}: {_percent(found.in_place)} per cent there, {_percent(elsewhere)} at disjoint "
        f"places; chance is {100 * found.chance:.0f}.{_told(found)}",
    )


def _told(found: Outcome) -> str:
    return "" if found.learnt else " It did not learn enough where it was trained for this to mean anything."


def _map(found: Outcome, canvas: str) -> PositionMap:
    return PositionMap(
        arm=title(found.arm.model) + canvas,
        trained_at=found.arm.place,
        offsets=found.arm.canvas.offsets,
        accuracy=_rows(found.maps.mean(axis=0)),
    )


def _rows(accuracy: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in accuracy)


def _table(found: list[Outcome], ceiling: np.ndarray) -> Table:
    rows = [
        (
            title(each.arm.model),
            f"{each.arm.canvas.side}",
            f"{each.arm.place}",
            _percent(each.in_place),
            _percent(each.elsewhere),
            each.kept.told(2) if each.learnt else "not learnt",
            ("not lost" if each.half_way is None else each.half_way.told(1)) if each.learnt else "",
            "unknown" if each.dip is None else each.dip.times(100).told(1),
        )
        for each in found
    ]
    everywhere, second = _percent(mean_interval(ceiling.mean(axis=(1, 2)))), found[1].arm
    rows.append((title(second.model), f"{second.canvas.side}", "everywhere", everywhere, everywhere, "1.00", "", ""))
    columns = (
        "model",
        "canvas",
        "trained at",
        "there, %",
        "disjoint, %",
        "share left",
        "half lost at, pixels",
        "off-phase dip, points",
    )
    return Table(title="Accuracy where it was trained and elsewhere", columns=columns, rows=tuple(rows))


def _rates(study: Study) -> str:
    rates = {f"{title(arm.model)}, canvas of {arm.canvas.side}": arm.tuned(study).rate for arm in arms(study)}
    return "; ".join(f"{rate:g} for {name}" for name, rate in rates.items())


def _percent(interval: Interval) -> str:
    return interval.times(100).told(1)
