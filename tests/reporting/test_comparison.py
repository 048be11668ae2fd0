"""Comparisons in the terminal: as kept, within the width, factors that multiply, no colour where none is wanted."""

from __future__ import annotations

import math
import re

import pytest

from epochwise.reporting.comparison import render
from tests.reporting import samples
from tests.reporting.keeping import assert_as_kept, drawn


@pytest.mark.parametrize("name", samples.COMPARISONS)
def test_as_kept(name):
    """At 80 columns."""
    text = drawn(render(samples.COMPARISONS[name]()))
    assert_as_kept(f"comparison_{name}", text)


@pytest.mark.parametrize("name", samples.COMPARISONS)
@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_line_is_longer_than_the_terminal(name, width):
    """Whatever names and numbers there are."""
    assert max(len(line) for line in drawn(render(samples.COMPARISONS[name]()), width).splitlines()) <= width


@pytest.mark.parametrize("name", samples.COMPARISONS)
def test_the_shown_factors_multiply_to_the_shown_ratio(name):
    """To their digits: each is rounded to three, the last one as well."""
    text = drawn(render(samples.COMPARISONS[name]()))
    shown = re.findall(r"^\S.*?([×÷]) ([\d.,]+)  ", text, flags=re.MULTILINE)
    product = math.prod(float(value.replace(",", "")) ** (1 if sign == "×" else -1) for sign, value in shown)
    ratio = float(re.search(r"^= the ratio\s+= ([\d.,]+)", text, flags=re.MULTILINE)[1].replace(",", ""))
    assert len(shown) >= 3
    assert math.isclose(product, ratio, rel_tol=0.005 * (len(shown) + 1))


def test_everything_is_there():
    """The blocks, in order."""
    text = drawn(render(samples.question()))
    titles = [
        "cnn against mlp",
        "Why: the ratio",
        "Where an epoch goes",
        "Why it takes its seconds",
        "Evidence",
        "What the profiler",
    ]
    places = [text.index(title) for title in [*titles, "Answer"]]
    assert places == sorted(places)
    assert "waiting" in text
    assert "unattributed" in text


def test_what_is_not_known_is_said():
    """And the joined factor has its name."""
    text = drawn(render(samples.without_profile()))
    assert len(re.findall(r"^(kernels|waiting) +- +unknown", text, flags=re.MULTILINE)) == 2
    assert re.search(r"kernels x +÷ 3\.90", text)
    assert "no profile could be made" in text
    assert "not tested" in text


def test_markup_in_names_is_text():
    """Brackets are not colours."""
    text = drawn(render(samples.hostile()))
    assert "[/bold] & 'second'" in text
    assert "<script>" in text


def test_no_colour(monkeypatch):
    """With NO_COLOR no colour is sent, even to a terminal that could."""
    assert "\x1b[31m" in drawn(render(samples.question()), force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in drawn(render(samples.question()), force_terminal=True)
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b" not in drawn(render(samples.question()))
