"""The time identity: seconds of an epoch as a product of factors, and the ratio of two as the product of their ratios.

seconds = parameters x reuse x machine x memory x kernels x waiting, a Kaya identity for training: each factor is one quantity
over the one before it, so the product is the epoch time whatever the values are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from epochwise.explaining.explanation import FactorRatio, Factors
from epochwise.measuring.measurement import Interval

RATIO_FACTORS = ("parameters", "reuse", "memory", "kernels", "waiting")
"""Factors of a ratio; ``machine`` cancels."""

WORK = ("parameters", "reuse", "machine", "memory")
TIME = ("kernels", "waiting")
JOINED = " x "


class Quantities(NamedTuple):
    """What the identity is made of.

    Attributes:
        parameters: weights.
        flops: of an epoch.
        peak: FLOP/s.
        roofline: seconds of an epoch.
        busy: seconds of an epoch, ``None`` if unknown.
        wall: seconds of an epoch.
    """

    parameters: int
    flops: float
    peak: float
    roofline: float
    busy: Interval | None
    wall: float


def factors_of(known: Quantities) -> Factors:
    """The factors of one model; neighbours that cannot be told apart are merged."""
    merged: dict[str, float] = {}
    parameters = reuse = machine = memory = kernels = waiting = None
    if known.parameters and known.flops:
        parameters, reuse = float(known.parameters), known.flops / known.parameters
        machine, memory = 1.0 / known.peak, known.roofline * known.peak / known.flops
    elif known.roofline:
        merged[JOINED.join(WORK)] = known.roofline
    if not known.roofline:
        merged[JOINED.join((*WORK, *TIME))] = known.wall
    elif known.busy is None:
        merged[JOINED.join(TIME)] = known.wall / known.roofline
    else:
        kernels, waiting = known.busy.median / known.roofline, known.wall / known.busy.median
    return Factors(
        parameters=parameters, reuse=reuse, machine=machine, memory=memory, kernels=kernels, waiting=waiting, merged=merged
    )


def product(factors: Factors) -> float:
    """The epoch time that the factors make."""
    return _joint(factors, (*WORK, *TIME))


def ratio_of(first: Quantities, second: Quantities) -> tuple[FactorRatio, ...]:
    """The factors of the ratio of two epoch times, second over first; the product of the known ones is that ratio."""
    one, two = factors_of(first), factors_of(second)
    groups = _groups(one, two)
    found: list[FactorRatio] = []
    for group in groups:
        if len(group) == 1:
            (name,) = group
            bounds = _bounds(name, first, second)
            found.append(FactorRatio(name, getattr(two, name) / getattr(one, name), *bounds))
        else:
            shown = [name for name in group if name in RATIO_FACTORS]
            found += [FactorRatio(name, None) for name in shown]
            found.append(FactorRatio(JOINED.join(shown), _joint(two, group) / _joint(one, group)))
    return tuple(found)


def _groups(one: Factors, two: Factors) -> list[tuple[str, ...]]:
    """Factors that must be taken together because one of the models does not tell them apart."""
    together = {name for factors in (one, two) for joined in factors.merged for name in joined.split(JOINED)}
    groups: list[tuple[str, ...]] = []
    for names in (WORK, TIME):
        if together.intersection(names):
            groups.append(names)
        else:
            groups += [(name,) for name in names if name in RATIO_FACTORS]
    whole = JOINED.join((*WORK, *TIME))
    if whole in one.merged or whole in two.merged:
        return [(*WORK, *TIME)]
    return groups


def _joint(factors: Factors, names: tuple[str, ...]) -> float:
    """Product of these factors, however they are kept."""
    singles: list[float | None] = [getattr(factors, name) for name in names]
    joined = [value for key, value in factors.merged.items() if set(key.split(JOINED)) <= set(names)]
    return math.prod([value for value in singles if value is not None] + joined)


def _bounds(name: str, first: Quantities, second: Quantities) -> tuple[float | None, float | None]:
    """The least and the most that a factor's ratio can be, for those that rest on the profile."""
    if name not in TIME or first.busy is None or second.busy is None:
        return None, None
    if name == "kernels":
        scale, above, below = first.roofline / second.roofline, second.busy, first.busy
    else:
        scale, above, below = second.wall / first.wall, first.busy, second.busy
    return scale * above.low / below.high, scale * above.high / below.low if below.low else None
