"""The statistics of the experiments, against closed forms, SciPy, and simulated worlds whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from epochwise.experiments import statistics as st


def test_the_paired_interval_is_students():
    """Five differences worked out by hand: mean 2, standard deviation sqrt(2.5), t(4) = 2.776445."""
    interval = st.paired_interval([11, 12, 13, 14, 15], [10, 10, 10, 10, 10][::-1])
    half = 2.7764451051977987 * math.sqrt(2.5 / 5)
    assert interval == pytest.approx((3.0, 3.0 - half, 3.0 + half))
    assert st.paired_p_value([1, 2, 4], [0, 3, 1]) == pytest.approx(stats.ttest_rel([1, 2, 4], [0, 3, 1]).pvalue)


def test_one_seed_tells_nothing_of_the_spread():
    """No interval is made up, and nothing is decided."""
    alone = st.paired_interval([0.9], [0.8])
    assert alone == (pytest.approx(0.1), -math.inf, math.inf)
    assert st.difference_of(alone) == "undecided"
    assert st.paired_p_value([0.9], [0.8]) == 1.0


def test_seeds_that_do_not_differ_are_no_difference():
    """Equal figures give an interval of no width, and a p value of 1; the same difference each time one of 0."""
    assert st.difference_of(st.paired_interval([0.5, 0.6], [0.5, 0.6])) == "no difference"
    assert st.paired_p_value([0.5, 0.6], [0.5, 0.6]) == 1.0
    assert st.paired_p_value([0.75, 0.5], [0.5, 0.25]) == 0.0


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.004, 0.004, "no difference"),
        (0.001, 0.004, "no difference"),  # there, and too small to matter
        (0.001, 0.02, "above"),
        (-0.02, -0.001, "below"),
        (-0.001, 0.02, "undecided"),
        (-0.03, 0.03, "undecided"),
    ],
)
def test_undecided_is_kept_apart_from_no_difference(low, high, said):
    """Only an interval within half a point says that there is no difference."""
    assert st.difference_of(st.Interval((low + high) / 2, low, high)) == said


def test_holm_as_in_a_textbook():
    """Adjusted in order of size, never falling, in the order in which they came."""
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert st.holm([0.9, 0.8]) == [1.0, 1.0]
    assert st.holm([]) == []


def test_how_often_one_is_above_the_other():
    """Five wins of five are no proof of always: the exact interval goes down to 0.025^(1/5)."""
    assert st.probability_above([2] * 5, [1] * 5) == (1.0, pytest.approx(0.025 ** (1 / 5)), 1.0)
    tied = st.probability_above([1, 1, 2], [1, 1, 1])
    assert tied.estimate == pytest.approx(2 / 3)
    assert (tied.low, tied.high) == (pytest.approx(1 - 0.975 ** (1 / 3)), 1.0)


def test_the_olympic_mean_forgives_the_best_and_the_worst():
    """Without the ends; of two there is nothing to leave out."""
    assert st.olympic_mean([100, 1, 2, 3, -50]) == 2.0
    assert st.olympic_mean([1, 3]) == 2.0


def test_the_hierarchical_bootstrap_has_the_spread_of_its_design():
    """Drawing seeds and images anew has a variance with a closed form (Owen 2007), and the interval is that of a normal."""
    generator = np.random.default_rng(5)
    seeds, images = 6, 900
    first = generator.random((seeds, images)) < 0.85
    second = generator.random((seeds, images)) < np.where(np.arange(images) < 200, 0.5, 0.85)
    difference = first.astype(float) - second
    interval = st.hierarchical_bootstrap(first, second, repetitions=40_000)
    assert interval.estimate == pytest.approx(difference.mean())
    centred = difference - difference.mean()
    rows, columns = centred.mean(axis=1), centred.mean(axis=0)
    inner = centred - rows[:, None] - columns
    variance = rows.var() / seeds + columns.var() / images + inner.var() / (seeds * images)
    # with both drawn, each cell of the remainder is drawn on average (1 + 1/...) times more unevenly: bounds, not an equality
    half = 1.96 * math.sqrt(variance)
    assert half * 0.95 < (interval.high - interval.low) / 2 < half * 1.6


def coverage(interval_of, truth: float, worlds: int) -> float:
    """Share of simulated worlds whose interval holds the truth."""
    hits = 0
    for world in range(worlds):
        interval = interval_of(np.random.default_rng(world))
        hits += interval.low <= truth <= interval.high
    return hits / worlds


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_t_interval_covers_what_it_promises(seeds):
    """In 95 of 100 worlds, with 3 seeds too."""
    found = coverage(lambda draw: st.mean_interval(draw.normal(0.3, 2.0, seeds)), 0.3, 2000)
    assert 0.93 < found < 0.97


def test_the_bootstrap_over_ten_seeds_covers_nearly_what_it_promises():
    """The expanded percentile interval; the plain one covers 90 of 100 with ten seeds."""

    def interval_of(draw):
        values = draw.normal(0.3, 2.0, 10)
        return st.seed_bootstrap(lambda places: float(values[places].mean()), 10, repetitions=1000)

    assert 0.92 < coverage(interval_of, 0.3, 300) < 0.99


def test_the_hierarchical_bootstrap_covers_worlds_with_other_seeds_and_images():
    """With ten seeds, whose spread is part of the world, and 400 images of uneven difficulty."""

    def interval_of(draw):
        hard = draw.normal(0, 1.5, 400)
        of_seed = draw.normal(0, 0.15, (2, 10, 1))
        first, second = (draw.normal(0, 1, (10, 400)) + hard + shift < 1.0 for shift in of_seed)
        return st.hierarchical_bootstrap(first, second, repetitions=500)

    assert coverage(interval_of, 0.0, 200) > 0.91


def test_a_ratio_of_costs_is_that_of_the_logarithms():
    """All arrived: the geometric mean without the ends, inside its interval."""
    ratio = st.ratio_interval([8, 8, 16, 2, 8], [1, 1, 1, 1, 1], 100, 100)
    assert ratio.interval.estimate == pytest.approx(8)
    assert ratio.interval.low <= 8 <= ratio.interval.high
    assert (ratio.first_reached, ratio.second_reached) == (1.0, 1.0)


def test_a_cost_that_was_not_reached_is_a_bound():
    """One seed without it opens the upper end only; none reached anywhere leaves both open."""
    some = st.ratio_interval([8, None, None, 9, 8], [1, 1, 1, 1, 1], 20, 20)
    assert math.isnan(some.interval.estimate)
    assert 7.9 <= some.interval.low <= 9
    assert some.interval.high == math.inf
    assert some.first_reached == 0.6
    none = st.ratio_interval([None] * 3, [None] * 3, 20, 20)
    assert (none.interval.low, none.interval.high) == (0.0, math.inf)


def test_rank_correlations_are_compared_with_all_orders():
    """As SciPy's coefficient; the perfect order of 6 things has 2 of 720 as far from 0."""
    x, y = [1, 2, 3, 4, 5, 6], [1, 4, 9, 16, 25, 36]
    perfect = st.rank_correlation(x, y)
    assert perfect.estimate == pytest.approx(1.0)
    assert perfect.p_value == pytest.approx(2 / 720)
    tied = st.rank_correlation([1, 1, 2, 5, 3], [2, 1, 1, 4, 9])
    assert tied.estimate == pytest.approx(stats.spearmanr([1, 1, 2, 5, 3], [2, 1, 1, 4, 9]).statistic)
    by_hand = [stats.spearmanr([1, 1, 2, 5, 3], order).statistic for order in itertools.permutations([2, 1, 1, 4, 9])]
    assert (tied.low, tied.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))
    assert st.rank_correlation([1, 1, 1], [1, 2, 3]).p_value == 1.0


def test_crossings_lie_on_straight_lines_over_the_logarithm():
    """Half way in accuracy between 100 and 10,000 samples is 1,000."""
    assert st.crossing([100, 10_000], [0.5, 0.7], 0.6) == pytest.approx(1000)
    assert st.crossing([100, 10_000], [0.5, 0.7], 0.5) == pytest.approx(100)
    assert st.crossing([100, 10_000], [0.5, 0.7], 0.4) == 0.0
    assert st.crossing([100, 10_000], [0.5, 0.7], 0.8) == math.inf


def test_the_data_multiplier_finds_a_shifted_curve():
    """An arm that needs four times the data at every accuracy has the multiplier 4, seeds or not."""
    sizes = np.array([100, 300, 1000, 3000, 10_000, 30_000])
    noise = np.random.default_rng(1).normal(0, 0.002, (5, 1))
    curve = 0.3 + 0.1 * np.log10(sizes)
    second, first = curve + noise, curve - 0.1 * math.log10(4) + noise
    found = st.data_multiplier(sizes, first, second, 0.65)
    assert found.estimate == pytest.approx(4.0)
    assert found.low == pytest.approx(4.0)
    never = st.data_multiplier(sizes, first * 0.5, second, 0.65)
    assert math.isnan(never.estimate)
    assert never.low == math.inf
