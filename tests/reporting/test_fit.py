"""Training runs in the terminal."""

from __future__ import annotations

import pytest

from epochwise.reporting.drawing import drawn as drawing
from epochwise.reporting.fit import render
from tests.reporting import samples
from tests.reporting.keeping import assert_as_kept, drawn


@pytest.mark.parametrize("name", samples.FITS)
def test_as_kept(name):
    """A line per epoch within 80 columns; what is not known is a dash, and who trained is said."""
    text = drawn(render(samples.FITS[name]()))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert_as_kept(name, text)


def test_drawn_by_its_schema():
    """What `epochwise report` draws is what `epochwise fit` showed."""
    assert drawn(drawing(samples.fit())) == drawn(render(samples.fit()))
