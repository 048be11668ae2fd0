"""The demo in the terminal: as kept, a column per backend, the three answers."""

from __future__ import annotations

from msgspec.structs import replace

from epochwise.reporting.demo import render
from tests.reporting import samples
from tests.reporting.keeping import assert_as_kept, drawn


def test_as_kept():
    """At 80 columns, and no line longer."""
    text = drawn(render(samples.demo()))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert_as_kept("demo", text)


def test_each_backend_and_each_part_of_the_question():
    """Nothing is left out unsaid."""
    demo = samples.demo()
    text = " ".join(drawn(render(demo)).split())
    for comparison in demo.comparisons:
        assert " ".join(comparison.answer.split()) in text
    for answer in (demo.answer.why_slower, demo.answer.benefit, demo.answer.parameters):
        assert answer in text
    assert "plain PyTorch: No module named 'torch'" in text


def test_one_backend():
    """Without a joined factor there is no row for one."""
    demo = samples.demo()
    text = drawn(render(replace(demo, comparisons=demo.comparisons[:1], left_out={})))
    assert "kernels x" not in text
    assert "Left out" not in text


def test_no_backend():
    """Says so."""
    assert "No backend could be measured" in drawn(render(replace(samples.demo(), comparisons=())))
