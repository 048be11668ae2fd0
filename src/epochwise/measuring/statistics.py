"""Medians, intervals and drift of repeated measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from epochwise.measuring.measurement import Interval

CONFIDENCE = 0.95
RESAMPLES = 4999
FEWEST_FOR_INTERVAL = 3
FEWEST_FOR_GROWTH = 8

Floats = NDArray[np.float64]


def median_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The median of the values and its 95 % interval by the percentile bootstrap.

    Args:
        values: at least one.
        seed: of the resampling, so that a record drawn twice says the same.
    """
    return _bootstrap([np.asarray(values)], lambda samples: np.median(samples[0], axis=-1), seed)


def paired_ratio(
    first: Sequence[float], second: Sequence[float], first_turn: float = 0.0, second_turn: float = 0.0, seed: int = 0
) -> Interval:
    """Ratio of the medians, second over first, and its 95 % interval by the paired bootstrap.

    Pairs are resampled together, so that whatever slowed both members of a pair cancels.

    Args:
        first: one value per block.
        second: the value of the block measured next to it; same length.
        first_turn: a constant to be added to the first's median (the turn between epochs).
        second_turn: the same for the second.
        seed: of the resampling.
    """

    def ratio(samples: list[Floats]) -> Floats:
        below = np.median(samples[0], axis=-1) + first_turn
        return np.asarray((np.median(samples[1], axis=-1) + second_turn) / below)

    return _bootstrap([np.asarray(first), np.asarray(second)], ratio, seed)


def _bootstrap(columns: list[Floats], statistic: Callable[[list[Floats]], Floats], seed: int) -> Interval:
    """Percentile bootstrap that resamples the rows of all columns together, in runs of neighbours.

    Blocks next to each other in time are alike on a machine whose speed drifts. Resampling single blocks would take them for
    independent and make the interval too narrow; runs of about the cube root of their number keep them together (moving-block
    bootstrap, Kuensch 1989).
    """
    count = len(columns[0])
    middle = float(statistic([column[np.newaxis] for column in columns])[0])
    if count < FEWEST_FOR_INTERVAL:
        values = [float(statistic([column[np.newaxis, place : place + 1] for column in columns])[0]) for place in range(count)]
        return Interval(middle, min([*values, middle]), max([*values, middle]))
    run = max(1, round(count ** (1 / 3)))
    generator = np.random.default_rng(seed)
    starts = generator.integers(0, count, size=(RESAMPLES, -(-count // run)))
    places = ((starts[:, :, np.newaxis] + np.arange(run)) % count).reshape(RESAMPLES, -1)[:, :count]
    estimates = statistic([column[places] for column in columns])
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(estimates, [tail, 1.0 - tail])
    return Interval(middle, min(float(low), middle), max(float(high), middle))


def growth(values: Sequence[float], seed: int = 0) -> Interval:
    """How much the last quarter's median exceeds the first's, with its interval: 0.5 for half as much again.

    Args:
        values: in the order in which they were measured; fewer than 8 do not tell anything.
        seed: of the resampling.
    """
    if len(values) < FEWEST_FOR_GROWTH:
        return Interval(0.0, 0.0, 0.0)
    quarter = len(values) // 4

    def later_over_earlier(samples: list[Floats]) -> Floats:
        return np.asarray(np.median(samples[1], axis=-1) / np.median(samples[0], axis=-1) - 1.0)

    return _bootstrap([np.asarray(values[:quarter]), np.asarray(values[-quarter:])], later_over_earlier, seed)
