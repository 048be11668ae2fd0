"""Intervals: exact at the median, honest about spread, and unmoved by what slows both members of a pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochwise.measuring.statistics import growth, median_interval, paired_ratio

positive = st.floats(1e-6, 1e6)


@given(st.lists(positive, min_size=1, max_size=20))
def test_the_median_lies_in_its_interval(values: list[float]) -> None:
    """Low and high enclose the median, whatever the values."""
    found = median_interval(values)
    assert found.median == np.median(values)
    assert found.low <= found.median <= found.high


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=15), st.floats(0, 10), st.floats(0, 10))
def test_the_ratio_is_that_of_the_medians(pairs: list[tuple[float, float]], one_turn: float, two_turn: float) -> None:
    """The point estimate is the ratio of the two epoch times that are shown, to the last bit."""
    first, second = zip(*pairs, strict=True)
    found = paired_ratio(first, second, one_turn, two_turn)
    assert found.median == (np.median(second) + two_turn) / (np.median(first) + one_turn)


def test_a_machine_that_drifts_does_not_bend_the_ratio() -> None:
    """Where both members of every pair are slowed alike, the ratio's interval is a point, and those of the times are wide."""
    drift = np.linspace(1.0, 2.0, 25)
    ratio = paired_ratio(drift, 3.0 * drift)
    assert ratio.high - ratio.low < 1e-9
    alone = median_interval(list(drift))
    assert alone.high - alone.low > 0.1


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 measurements of a known ratio, at least 85 % of the intervals hold it (95 % is asked of large samples)."""
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        first, second = generator.lognormal(0.0, 0.1, 24), 2.0 * generator.lognormal(0.0, 0.1, 24)
        found = paired_ratio(first, second, seed=trial)
        hits += found.low <= 2.0 <= found.high
    assert hits >= 170


def test_growing_times_are_seen() -> None:
    """Times that grow by half are said to; steady ones and too few are not."""
    grown = growth([1.0] * 4 + [1.2] * 4 + [1.5] * 4)
    assert (grown.low, grown.median, grown.high) == pytest.approx((0.5, 0.5, 0.5))
    assert growth([1.0] * 12).median == 0.0
    assert growth([1.0, 9.0]).median == 0.0
