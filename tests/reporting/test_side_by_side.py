"""Several models in the terminal: totals beside each other with ratios, then each model."""

from __future__ import annotations

from msgspec.structs import replace

from epochwise.counting.side_by_side import side_by_side
from epochwise.reporting.layers import View
from epochwise.reporting.side_by_side import render
from tests.reporting import samples
from tests.reporting.keeping import assert_as_kept, drawn


def test_as_kept():
    """The question's two models."""
    assert_as_kept("side_by_side_question", drawn(render(side_by_side([samples.mlp(), samples.cnn()]))))


def test_models_that_do_not_fit_beside_each_other_go_on_below():
    """Five with long names, on two backends: no line is too long, and the first stands in each table."""
    named = [replace(samples.cnn(), name=f"a_model_with_a_rather_long_name_{number}") for number in range(3)]
    record = side_by_side([*named, samples.nested(), samples.uncounted().models[1].counts])
    text = drawn(render(record, View(depth=1)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert_as_kept("side_by_side_many", text)
