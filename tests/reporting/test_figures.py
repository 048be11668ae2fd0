"""Numbers in tables: digits, units, signs, names that fit."""

from __future__ import annotations

import pytest

from epochwise.reporting.figures import (
    count_text,
    digits,
    exact_text,
    factor_text,
    interval_text,
    ratio_text,
    shape_text,
    share_text,
    shortened,
    unit_for,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (89.305, "89.3"), (2.0916, "2.09"), (0.31, "0.31"), (0.00213, "0.0021"), (0, "0.00")],
)
def test_digits(value, text):
    """Three that count."""
    assert digits(value) == text


@pytest.mark.parametrize(
    ("ratio", "text", "factor"),
    [
        (16.5, "16.5", "× 16.5"),
        (1 / 16.53, "1/16.5", "÷ 16.5"),
        (1.0, "1.00", "× 1.00"),
        (0.996, "1.00", "× 1.00"),
        (0.99, "1/1.01", "÷ 1.01"),
        (None, "unknown", "unknown"),
        (0.0, "0.00", "× 0.00"),
    ],
)
def test_ratios_and_factors(ratio, text, factor):
    """Below one as people say it."""
    assert ratio_text(ratio) == text
    assert factor_text(ratio) == factor


@pytest.mark.parametrize(
    ("count", "short", "exact"),
    [
        (618_864, "618,864", "618,864"),
        (6_000_000_042, "6.000 G", "6,000,000,042"),
        (1_234_567, "1.235 M", "1,234,567"),
        (12.5, "12.5", "12.5"),
        (0, "0", "0"),
        (5e21, "5,000.0 E", "5,000,000,000,000,000,000,000"),
    ],
)
def test_counts(count, short, exact):
    """Exact below a million; to the last digit where asked."""
    assert count_text(count) == short
    assert exact_text(count) == exact


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.31, "1.310 s"),
        (18.9, "18.90 s"),
        (150.0, "150.0 s"),
        (812.0, "13.53 min"),
        (9000.0, "2.500 h"),
        (0.0214, "21.40 ms"),
        (3.2e-6, "3.200 us"),
        (0.0, "0.000 us"),
    ],
)
def test_units(seconds, text):
    """Four digits in the unit that suits."""
    assert unit_for(seconds).named(seconds) == text


def test_signs():
    """What is rounded to nothing has none."""
    unit = unit_for(2.0)
    assert unit.text(0.5, sign=True) == "+0.500"
    assert unit.text(-0.0001, sign=True) == "0.000"
    assert unit.text(0.0001, sign=True) == "0.000"
    assert unit.text(None) == "unknown"


def test_intervals_shapes_shares():
    """As tables show them."""
    assert interval_text(1.298, 1.326, unit_for(1.31)) == "1.298 to 1.326 s"
    assert interval_text(0.5, 2.0) == "1/2.00 to 2.00"
    assert shape_text((None, 26, 26, 16)) == "26x26x16"
    assert shape_text((None, None, 8)) == "?x8"
    assert shape_text(None) == ""
    assert share_text(0.2567) == "25.7 %"
    assert share_text(-1e-9) == "0.0 %"


@pytest.mark.parametrize("columns", range(12))
def test_names_lose_their_middle(columns):
    """Never longer than asked."""
    assert len(shortened("encoder/block_12/dense", columns)) <= columns
    assert shortened("dense", 5) == "dense"
    assert shortened("encoder/block_12/dense", 11) == "encod…dense"
