"""Intervals and tests over few seeds: what may be said of a difference, and what may not.

A seed is the unit: it sets initial weights, order and subset of both arms, so differences are taken seed by seed. The t
interval of these decides; a bootstrap is shown beside it where images matter too. With 3 seeds no bootstrap over seeds can
cover 95 % (it never leaves the range of what was seen), which is why it does not decide.

Ends of intervals that the data do not bound are infinite; a record has ``null`` for them (``record.py: recorded``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
REPETITIONS = 10_000
MARGIN = 0.005
"""Half a point of accuracy: a difference whose whole interval is smaller is none."""

Floats: TypeAlias = NDArray[np.float64]
Difference: TypeAlias = Literal["above", "below", "no difference", "undecided"]

_NUMBERS_AT_ONCE = 4_000_000  # of a bootstrap: 32 MB
_ALL_ORDERS_UP_TO = 8
_FEWEST_FOR_OLYMPIC = 3


def _stats() -> Any:
    """SciPy's tests and distributions, imported when they are needed: that takes longer than to plan all experiments."""
    from scipy import stats

    return stats


class Interval(NamedTuple):
    """An estimate with its 95 % interval.

    Attributes:
        estimate: the figure itself.
        low: lower end; minus infinity where the data set none.
        high: upper end.
    """

    estimate: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        """In another unit, such as points of accuracy for shares; the factor is positive."""
        return Interval(factor * self.estimate, factor * self.low, factor * self.high)

    def told(self, digits: int, *, signed: bool = False) -> str:
        """In words: ``1.5 [0.9, 2.1]``, the estimate with its sign if asked."""
        form = f"z.{digits}f"  # no negative zeros
        return f"{self.estimate:{'+' if signed else ''}{form}} [{self.low:{form}}, {self.high:{form}}]"


def mean_interval(values: ArrayLike) -> Interval:
    """The mean and its t interval; of one value alone nothing is known but itself.

    Args:
        values: one per seed.
    """
    sample = np.asarray(values, np.float64)
    middle = float(sample.mean())
    if sample.size < 2:  # noqa: PLR2004 - two values are what a spread needs
        return Interval(middle, -math.inf, math.inf)
    half = float(_stats().t.ppf(0.5 + CONFIDENCE / 2, sample.size - 1) * sample.std(ddof=1) / math.sqrt(sample.size))
    return Interval(middle, middle - half, middle + half)


def paired_interval(first: ArrayLike, second: ArrayLike) -> Interval:
    """The mean of ``first - second`` seed by seed, with the paired t interval."""
    return mean_interval(np.asarray(first, np.float64) - np.asarray(second, np.float64))


def paired_p_value(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p value of the paired t test; 1 where there is one seed only, or where nothing differs."""
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if difference.size < 2 or not np.ptp(difference):  # noqa: PLR2004 - as above
        return 0.0 if difference.size > 1 and difference[0] else 1.0
    return float(_stats().ttest_1samp(difference, 0.0).pvalue)


def difference_of(interval: Interval, margin: float = MARGIN) -> Difference:
    """What an interval of a difference says.

    ``no difference`` needs the whole interval within the margin (two one-sided tests). An interval that reaches over the margin
    and over 0 is ``undecided``: too few seeds, and never the same as no difference.
    """
    if -margin <= interval.low and interval.high <= margin:
        return "no difference"
    if interval.low > 0:
        return "above"
    return "below" if interval.high < 0 else "undecided"


def hierarchical_bootstrap(first: ArrayLike, second: ArrayLike, repetitions: int = REPETITIONS, seed: int = 0) -> Interval:
    """Difference of two accuracies over seeds and test images, both drawn anew.

    Seeds and images are crossed (every seed sees the same test images), so both are drawn with replacement independently (the
    pigeonhole bootstrap, Owen 2007, which errs on the wide side). The interval answers for other seeds *and* other images.

    Args:
        first: ``(seeds, images)``: whether each test image was classified correctly.
        second: the same seeds and images of the other arm.
        repetitions: how often.
        seed: of the drawing.
    """
    correct = np.asarray(first, np.int8) - np.asarray(second, np.int8)
    seeds, images = correct.shape
    # Images that fared alike under all seeds are interchangeable, so only how many of each kind are drawn matters.
    kinds, times = np.unique(correct, axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    at_once = max(1, min(repetitions, _NUMBERS_AT_ONCE // kinds.shape[1]))
    means = np.empty(repetitions)
    for first_one in range(0, repetitions, at_once):
        count = min(at_once, repetitions - first_one)
        drawn_images = generator.multinomial(images, times / images, size=count)
        drawn_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=count)
        means[first_one : first_one + count] = np.einsum("rk,rk->r", drawn_seeds @ kinds.astype(np.float64), drawn_images)
    means /= seeds * images
    return _percentiles(float(correct.mean()), means, (1 - CONFIDENCE) / 2)


def seed_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], seeds: int, repetitions: int = REPETITIONS, seed: int = 0
) -> Interval:
    """Any figure over seeds, with the expanded percentile interval of Hesterberg (2015).

    The plain percentile interval is too narrow for few seeds: it uses the normal's tails, and the spread around a mean that was
    fitted. The expanded one takes further tails, which makes it as wide as the t interval where the figure is a mean.

    Args:
        statistic: of the places of the seeds drawn (with repetitions); may be infinite, and ``nan`` where it has no value.
        seeds: how many there are.
        repetitions: how often.
        seed: of the drawing.
    """
    estimate = statistic(np.arange(seeds))
    if seeds < 2:  # noqa: PLR2004 - as above
        return Interval(estimate, -math.inf, math.inf)
    generator = np.random.default_rng(seed)
    drawn = np.sort(generator.integers(0, seeds, size=(repetitions, seeds)), axis=1)
    different, times = np.unique(drawn, axis=0, return_counts=True)  # few: 126 for 5 seeds
    values = np.repeat([statistic(places) for places in different], times)
    tail = _stats().norm.cdf(-math.sqrt(seeds / (seeds - 1)) * _stats().t.ppf(0.5 + CONFIDENCE / 2, seeds - 1))
    return _percentiles(estimate, values, float(tail))


def probability_above(first: ArrayLike, second: ArrayLike) -> Interval:
    """How often the first is above the second, seed by seed, with the exact interval (Clopper and Pearson).

    A tie is half a win in the estimate; the lower end takes all ties for losses, and the upper end for wins.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    wins, ties, count = int((difference > 0).sum()), int((difference == 0).sum()), difference.size
    low = float(_stats().binomtest(wins, count).proportion_ci(CONFIDENCE, "exact").low)
    high = float(_stats().binomtest(wins + ties, count).proportion_ci(CONFIDENCE, "exact").high)
    return Interval((wins + ties / 2) / count, low, high)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for how many hypotheses there are (Holm 1979), in the order given.

    Below 0.05 after this, the chance that any of the hypotheses is called so wrongly stays below 0.05.
    """
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = floor
    return adjusted


def olympic_mean(values: ArrayLike) -> float:
    """The mean without the smallest and the largest, as MLPerf takes it; of less than 3 values the plain mean."""
    ordered = np.sort(np.asarray(values, np.float64))
    return float((ordered[1:-1] if ordered.size >= _FEWEST_FOR_OLYMPIC else ordered).mean())


class Ratio(NamedTuple):
    """A ratio of two costs.

    Attributes:
        interval: of the ratio; an end is 0 or infinite where too many did not arrive.
        first_reached: share of the seeds whose first arm arrived.
        second_reached: share of the seeds whose second arm arrived.
    """

    interval: Interval
    first_reached: float
    second_reached: float


def ratio_interval(
    first: Sequence[float | None], second: Sequence[float | None], first_limit: float, second_limit: float
) -> Ratio:
    """Ratio of the costs of reaching something, where some never reached it.

    Of a seed whose first arm had not arrived when it was stopped, the ratio is known to be at least ``limit / second``; that
    lower bound goes into the lower end of the interval, and infinity into the upper one. The olympic mean forgives one such
    seed, as it forgives one lucky one.

    Args:
        first: cost per seed, ``None`` where it was not reached.
        second: the same seeds of the other arm.
        first_limit: the cost at which the first arm was stopped.
        second_limit: the same of the second.

    Returns:
        First over second: the geometric olympic mean over seeds, with the bootstrap over seeds.
    """
    lowest, highest = [], []
    for above, below in zip(first, second, strict=True):
        lowest.append(-math.inf if below is None else math.log((first_limit if above is None else above) / below))
        highest.append(math.inf if above is None else math.log(above / (second_limit if below is None else below)))
    reached = [sum(each is not None for each in arm) / len(arm) for arm in (first, second)]
    low, high = (seed_bootstrap(_olympic_of(values), len(values)) for values in (lowest, highest))
    estimate = low.estimate if low.estimate == high.estimate else math.nan
    return Ratio(Interval(math.exp(estimate), math.exp(low.low), math.exp(high.high)), reached[0], reached[1])


def _olympic_of(values: Sequence[float]) -> Callable[[NDArray[np.int64]], float]:
    array = np.asarray(values, np.float64)

    return lambda places: olympic_mean(array[places])


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation.

    Attributes:
        estimate: from -1 to 1.
        low: with no relation at all, 95 % of all orders give a correlation between this
        high: and this.
        p_value: share of all orders with a correlation as far from 0.
    """

    estimate: float
    low: float
    high: float
    p_value: float


def rank_correlation(x: ArrayLike, y: ArrayLike, seed: int = 0) -> RankCorrelation:
    """Whether two figures of the same few things rise together; compared with all orders that they could have had.

    Args:
        x: one figure per thing.
        y: the other.
        seed: of the orders that are drawn, where there are too many to try all (more than 8 things).
    """
    first, second = _stats().rankdata(np.asarray(x)), _stats().rankdata(np.asarray(y))
    first, second = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(first @ first) * float(second @ second))
    if not scale:
        return RankCorrelation(math.nan, -1.0, 1.0, 1.0)
    if first.size <= _ALL_ORDERS_UP_TO:
        orders = np.array(list(itertools.permutations(range(first.size))))
    else:
        orders = np.random.default_rng(seed).permuted(np.tile(np.arange(first.size), (REPETITIONS, 1)), axis=1)
    chance = second[orders] @ first / scale
    estimate = float(first @ second) / scale
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(chance, [tail, 1 - tail])
    beyond = np.abs(chance) >= abs(estimate) - 1e-12
    return RankCorrelation(estimate, float(low), float(high), float(beyond.mean()))


def crossing(x: ArrayLike, y: ArrayLike, level: float) -> float:
    """Where a curve first reaches a level, between points by a straight line over the logarithm of x.

    Args:
        x: positive and rising.
        y: the curve.
        level: what is to be reached.

    Returns:
        the x; infinity where the curve stays below; 0 where it begins above, since then it lies somewhere before the first x.
    """
    places, heights = np.log(np.asarray(x, np.float64)), np.asarray(y, np.float64)
    above = np.flatnonzero(heights >= level)
    if not above.size:
        return math.inf
    after = int(above[0])
    if not after:
        return math.exp(places[0]) if heights[0] == level else 0.0
    share = (level - heights[after - 1]) / (heights[after] - heights[after - 1])
    return math.exp(places[after - 1] + share * (places[after] - places[after - 1]))


def data_multiplier(samples: ArrayLike, first: ArrayLike, second: ArrayLike, level: float) -> Interval:
    """How many times as much data the first arm needs as the second to reach an accuracy.

    Args:
        samples: sizes of the training set, rising.
        first: accuracies ``(seeds, sizes)``.
        second: the same of the other arm; seeds are drawn together.
        level: the accuracy, on the curves of the means over seeds.

    Returns:
        ``nan`` as the estimate where one of the two curves does not cross the level; an infinite or zero end says that an arm
        never gets there, or is there with the fewest samples already.
    """
    of_first, of_second = np.asarray(first, np.float64), np.asarray(second, np.float64)

    def statistic(places: NDArray[np.int64]) -> float:
        above = crossing(samples, of_first[places].mean(axis=0), level)
        below = crossing(samples, of_second[places].mean(axis=0), level)
        if (math.isinf(above) and math.isinf(below)) or (not above and not below):
            return math.nan
        if math.isinf(below):
            return 0.0
        return math.inf if not below else above / below

    found = seed_bootstrap(statistic, of_first.shape[0])
    inside = 0.0 < found.estimate < math.inf
    return Interval(found.estimate if inside else math.nan, found.low, found.high)


def _percentiles(estimate: float, values: Floats, tail: float) -> Interval:
    """Ends that are values which occurred, since some may be infinite; a repetition without a value could be anything."""
    last = values.size - 1
    low = np.sort(np.where(np.isnan(values), -math.inf, values))[math.floor(tail * last)]
    high = np.sort(np.where(np.isnan(values), math.inf, values))[math.ceil((1 - tail) * last)]
    return Interval(estimate, float(low), float(high))
