"""Explanations of one model in the terminal: as kept, within the width, parts and causes that add up."""

from __future__ import annotations

import math
import re

import pytest

from epochwise.reporting.explanation import render
from epochwise.reporting.records import from_json, to_json
from tests.reporting import samples
from tests.reporting.keeping import assert_as_kept, drawn


@pytest.mark.parametrize("name", samples.EXPLANATIONS)
def test_as_kept(name):
    """At 80 columns."""
    assert_as_kept(f"explanation_{name}", drawn(render(samples.EXPLANATIONS[name]())))


@pytest.mark.parametrize("name", samples.EXPLANATIONS)
@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_line_is_longer_than_the_terminal(name, width):
    """Whatever names and numbers there are."""
    assert max(len(line) for line in drawn(render(samples.EXPLANATIONS[name]()), width).splitlines()) <= width


def test_the_shown_causes_add_up_to_the_shown_epoch():
    """To the digits shown."""
    text = drawn(render(samples.EXPLANATIONS["cnn"]()))
    block = text[text.index("Why it takes its seconds") : text.index("Evidence")]
    seconds = [float(value) for value in re.findall(r"^\S.*?  +(-?[\d.]+)  +-?[\d.]+ %", block, flags=re.MULTILINE)]
    assert len(seconds) >= 5
    assert math.isclose(sum(seconds[:-1]), seconds[-1], abs_tol=0.001 * len(seconds))


@pytest.mark.parametrize("name", samples.EXPLANATIONS)
def test_saved_and_read_again(name):
    """Nothing is lost on the way through JSON."""
    record = samples.EXPLANATIONS[name]()
    assert from_json(to_json(record)) == record


def test_what_is_not_known_is_not_predicted():
    """Without a profile there is no what-if, and kernels and waiting are one cause."""
    text = drawn(render(samples.EXPLANATIONS["without_profile"]()))
    assert "What it could be" not in text
    assert "kernel path or per-step overhead" in text
