"""What both the terminal and the page say: factors that multiply to the ratio, seconds that add up to the epoch."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from epochwise.explaining.explanation import Part
from epochwise.measuring.measurement import EpochEnd, Interval
from epochwise.reporting.contents import (
    cause_rows,
    evaluated,
    factor_rows,
    facts,
    headline,
    largest,
    profiler,
    quality,
    setting,
    units_of,
)
from tests.reporting import samples


@pytest.mark.parametrize("name", samples.COMPARISONS)
def test_the_factors_lead_to_the_ratio(name):
    """To 1e-9, whatever is unknown."""
    comparison = samples.COMPARISONS[name]()
    rows = factor_rows(comparison)
    known = [row.ratio for row in rows if row.ratio is not None]
    assert math.isclose(math.prod(known), comparison.ratio.median, rel_tol=1e-9)
    assert math.isclose(rows[-1].after, comparison.ratio.median, rel_tol=1e-9)
    assert all(row.meaning and row.help for row in rows)


@pytest.mark.parametrize("name", samples.COMPARISONS)
def test_the_causes_add_up_to_the_epochs(name):
    """In each column."""
    comparison = samples.COMPARISONS[name]()
    rows = cause_rows(comparison)
    for place, model in enumerate(comparison.models):
        seconds = math.fsum((row.first, row.second)[place] or 0.0 for row in rows)
        assert math.isclose(seconds, model.epoch_seconds.median, rel_tol=1e-9)
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize("name", samples.COMPARISONS)
@pytest.mark.parametrize("most", [3, 8, 1000])
def test_the_largest_parts_and_the_rest_are_the_epoch(name, most):
    """Nothing is lost, and unattributed is always shown."""
    for model in samples.COMPARISONS[name]().models:
        parts = largest(model.where, most)
        assert math.isclose(math.fsum(part.seconds for part in parts), model.epoch_seconds.median, rel_tol=1e-9)
        assert math.isclose(math.fsum(part.share for part in parts), 1.0, rel_tol=1e-9)
        assert "unattributed" in [part.name for part in parts]
        assert len(parts) <= max(most, 4) + 1


def test_a_single_part_is_not_called_the_rest():
    """It has a name."""
    parts = (Part("a", "forward", 2.0, 0.5), Part("b", "forward", 1.0, 0.25), Part("c", "forward", 1.0, 0.25))
    assert [part.name for part in largest(parts, 2)] == ["a", "b", "c"]
    assert [part.name for part in largest(parts, 1)] == ["a", "2 other parts"]


def test_headlines():
    """Longer, shorter, and not to be told."""
    comparison = samples.question()
    assert headline(comparison) == "cnn against mlp: an epoch takes 2.09 times as long"
    shorter = replace(comparison, ratio=Interval(0.5, 0.4, 0.6))
    assert headline(shorter) == "cnn against mlp: an epoch takes 1/2.00 of the time"
    assert "no difference" in headline(replace(comparison, ratio=Interval(1.02, 0.98, 1.05)))


def test_what_models_are_tested_by():
    """Accuracy before other figures before the loss."""
    assert quality(EpochEnd(1, 1.0, {}, {"loss": 0.5, "mae": 0.3, "sparse_categorical_accuracy": 0.8})) == (
        "sparse_categorical_accuracy",
        0.8,
    )
    assert quality(EpochEnd(1, 1.0, {}, {"loss": 0.5, "mae": 0.3})) == ("mae", 0.3)
    assert quality(EpochEnd(1, 1.0, {}, {"loss": 0.5})) == ("loss", 0.5)
    assert quality(EpochEnd(1, 1.0, {"loss": 1.0}, {})) is None
    assert evaluated(samples.without_profile().models[0]) == []


def test_untested_models_are_said_to_be():
    """And others say after how many epochs."""
    assert ("not tested", "not tested") in [row.values for row in facts(samples.without_profile())]
    rows = {row.label: row.values for row in facts(samples.question())}
    assert rows["  after"] == ("4 epochs", "3 epochs")
    assert rows["  after 3 epochs each"] == ("0.8370", "0.8180")


def test_one_unit_for_both_models_unless_one_is_far_smaller():
    """0.812 s under 2.740 s, but milliseconds under minutes."""
    comparison = samples.question()
    assert [unit.name for unit in units_of(comparison)] == ["s", "s"]
    assert units_of(samples.question(seconds=(0.812, 2.74)))[0].text(0.812) == "0.812"
    assert [unit.name for unit in units_of(samples.question(seconds=(0.03, 300.0)))] == ["ms", "min"]


def test_the_setting_names_what_differs():
    """Backend, data, batch, machine, how."""
    rows = dict(setting(samples.question()))
    assert rows["backend"] == "Keras on TensorFlow"
    assert rows["batch"] == "32 samples; 1,875 steps in an epoch"
    assert rows["machine"] == "Some processor, 2 cores"
    two = replace(samples.question(), backend="torch / pytorch")
    assert dict(setting(two))["backend"] == "Keras on PyTorch against plain PyTorch"


def test_the_profiler_is_named_with_its_cost():
    """Or said not to have run."""
    assert "4.0 % longer" in profiler(samples.question().models[0])
    assert "no profile could be made" in profiler(samples.without_profile().models[0])
