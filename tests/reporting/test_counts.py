"""Counts in the terminal: as kept, within the width, every layer."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from epochwise.counting.counts import Parameters
from epochwise.reporting.counts import render
from tests.reporting import samples
from tests.reporting.keeping import assert_as_kept, drawn

COUNTS = {
    "mlp": samples.mlp,
    "cnn": samples.cnn,
    "uncounted": lambda: samples.uncounted().models[1].counts,
    "deep": lambda: samples.deep().models[0].counts,
    "empty": lambda: samples.counts("nothing", []),
}


@pytest.mark.parametrize("name", COUNTS)
def test_as_kept(name):
    """At 80 columns, and no line longer."""
    text = drawn(render(COUNTS[name]()))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert_as_kept(f"counts_{name}", text)


def test_every_layer_has_its_row():
    """All 200, at any width."""
    counts = samples.deep().models[1].counts
    for width in (80, 120):
        text = drawn(render(counts), width)
        assert text.count("590,080") == 200
        assert "600,000,004,200 MACs" in text
        assert max(len(line) for line in text.splitlines()) <= width


def test_frozen_weights_are_told_apart():
    """Where there are any."""
    assert "(1 trainable, 2 frozen)" in drawn(render(replace(samples.cnn(), parameters=Parameters(1, 2))))
    assert "frozen" not in drawn(render(samples.cnn()))


def test_an_unknown_number_of_times():
    """Is said to be."""
    text = drawn(render(COUNTS["uncounted"]()))
    assert "CustomFFT2D" in text
    assert "unknown" in text
    assert "trip count unknown" in text
