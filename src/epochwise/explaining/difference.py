"""Two models' parts and causes held against each other: what makes the difference of their epochs, largest first."""

from __future__ import annotations

import math
from collections import defaultdict

from epochwise.explaining.accounts import Place, listed
from epochwise.explaining.explanation import Cause, CauseDifference, ModelExplanation, PartDifference
from epochwise.explaining.vocabulary import KERNELS, LOWERING


def part_differences(first: ModelExplanation, second: ModelExplanation) -> tuple[PartDifference, ...]:
    """What each part adds to the difference, largest first; a part that only one model has counts whole."""
    one, two = ({(part.name, part.phase): part.seconds for part in model.where} for model in (first, second))
    found = [
        PartDifference(*key, one.get(key), two.get(key), two.get(key, 0.0) - one.get(key, 0.0))
        for key in dict.fromkeys([*two, *one])
    ]
    return tuple(sorted(found, key=lambda part: -abs(part.seconds)))


def cause_differences(first: ModelExplanation, second: ModelExplanation) -> tuple[CauseDifference, ...]:
    """What each cause adds to the difference, largest first; their sum is the difference of the epochs.

    Where both models do the same work, layer by layer, kernels that take longer are another lowering of it.
    """
    difference = second.epoch_seconds.median - first.epoch_seconds.median
    one, two = ({cause.name: cause for cause in model.causes} for model in (first, second))
    rename = {KERNELS: LOWERING} if same_work(first, second) and not {LOWERING} & {*one, *two} else {}
    found = []
    for name in dict.fromkeys([*two, *one]):
        before, after = one.get(name), two.get(name)
        seconds = (after.seconds if after else 0.0) - (before.seconds if before else 0.0)
        longer = after if seconds > 0 else before
        found.append(
            CauseDifference(
                rename.get(name, name),
                seconds,
                seconds / difference if difference else math.nan,
                "" if longer is None else longer.evidence,
                "" if longer is None else longer.sure,
                "" if longer is None else longer.remedy,
                None if longer is None else longer.left_seconds,
                listed(_places(before, after, math.copysign(1.0, seconds))),
            )
        )
    return tuple(sorted(found, key=lambda cause: -abs(cause.seconds)))


def same_work(first: ModelExplanation, second: ModelExplanation) -> bool:
    """Whether both models do the same multiply-accumulates with as many weights, on different frameworks."""
    one, two = first.counts, second.counts
    return (
        one.backend != two.backend
        and one.parameters.total == two.parameters.total
        and one.per_sample.training_macs == two.per_sample.training_macs
    )


def _places(before: Cause | None, after: Cause | None, sign: float) -> dict[Place, float]:
    seconds: defaultdict[Place, float] = defaultdict(float)
    for cause, weight in ((before, -sign), (after, sign)):
        for place in cause.places if cause else ():
            seconds[place.name, place.phase] += weight * place.seconds
    return dict(seconds)
