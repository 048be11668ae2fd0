"""Counts in the terminal: as kept, within the width, every layer."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from epochwise.counting.counts import LargestBatch, Parameters
from epochwise.reporting.counts import render
from epochwise.reporting.layers import COLUMNS, View
from tests.reporting import samples
from tests.reporting.keeping import assert_as_kept, drawn

COUNTS = {
    "mlp": samples.mlp,
    "cnn": samples.cnn,
    "uncounted": lambda: samples.uncounted().models[1].counts,
    "deep": lambda: samples.deep().models[0].counts,
    "empty": lambda: samples.counts("nothing", []),
    "nested": samples.nested,
}
VIEWS = {
    "depth_1": View(depth=1),
    "depth_2": View(depth=2),
    "sorted": View(sort="macs"),
    "sorted_at_depth_1": View(sort="macs", depth=1),
    "phases": View(("training-macs", "other-flops", "forward-bytes", "backward-bytes", "update-bytes", "bytes", "calls")),
    "everything": View(tuple(COLUMNS)),
}


@pytest.mark.parametrize("name", COUNTS)
def test_as_kept(name):
    """At 80 columns, and no line longer."""
    text = drawn(render(COUNTS[name]()))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert_as_kept(f"counts_{name}", text)


@pytest.mark.parametrize("name", VIEWS)
def test_views_as_kept(name):
    """Levels, orders, columns: at 80 columns and no line longer, except that all columns at once need more."""
    width = 200 if name == "everything" else 80
    text = drawn(render(samples.nested(), VIEWS[name]), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert_as_kept(f"counts_nested_{name}", text)


@pytest.mark.parametrize("batch", [7, None])
def test_the_answer_about_memory(batch):
    """What fits with both peaks, or that nothing does."""
    fit = LargestBatch(3 * 2**29, batch, 1_610_612_000, None if batch is None else 1_610_613_000)
    text = " ".join(drawn(render(replace(samples.cnn(), largest_batch=fit))).split())
    if batch is None:
        assert "Not even a batch of 1 fits into 1.5 GiB: its peak is 1.61 GB." in text
    else:
        assert (
            "that fits into 1.5 GiB is 7: its peak is 1,610,612,000 bytes; one sample more needs 1,610,613,000 bytes." in text
        )


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
