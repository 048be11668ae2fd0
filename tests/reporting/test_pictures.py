"""The picture of the factors: steps that end in the ratio, files of both kinds, text that is text."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import msgspec
import pytest

from epochwise.errors import OutputExistsError, UsageError
from epochwise.reporting.factor_chart import NARROW, TOTAL, steps
from epochwise.reporting.palette import PALETTE, repaint
from epochwise.reporting.pictures import inline, picture, save_picture
from tests.reporting import samples


@pytest.mark.parametrize("name", samples.COMPARISONS)
def test_the_steps_end_in_the_ratio(name):
    """Each begins where the one before ended; the sums begin at 1."""
    comparison = samples.COMPARISONS[name]()
    found = steps(comparison)
    place = 1.0
    for step in found:
        assert step.start == (place if step.kind == "step" else 1.0)
        assert math.isclose(step.end, place, rel_tol=1e-9) or step.kind == "step"
        place = step.end
    assert found[-1].name == TOTAL
    assert math.isclose(found[-1].end, comparison.ratio.median, rel_tol=1e-9)


def test_the_arithmetic_is_a_sum_of_its_own():
    """Where parameters and reuse are known."""
    assert [step.value for step in steps(samples.question())] == [
        "÷ 16.5", "× 89.3", "5.40", "× 1.51", "÷ 1.21", "÷ 3.23", "2.09"
    ]  # fmt: skip
    assert "arithmetic" not in [step.name for step in steps(samples.without_macs())]


def test_a_bound_that_is_not_known_runs_to_the_edge():
    """Its whisker has one tick, at the end that is known, and stays within the scale."""
    comparison = samples.question()
    known = [step.low for step in steps(comparison) if step.low is not None]
    open_ended = [
        msgspec.structs.replace(factor, low={"waiting": 0.0}.get(factor.name, factor.low), high=None)
        if factor.name in {"kernels", "waiting"}
        else factor
        for factor in comparison.factors
    ]
    changed = msgspec.structs.replace(comparison, factors=tuple(open_ended))
    kernels, waiting = (step for step in steps(changed) if step.name in {"kernels", "waiting"})
    assert kernels.high == waiting.high == math.inf
    assert kernels.low in known
    assert waiting.low == 0.0
    ET.fromstring(picture(changed).decode())
    assert picture(changed) != picture(comparison)


@pytest.mark.parametrize("name", [*samples.COMPARISONS, "demo"])
def test_svg(name):
    """Well formed, with all values in it, and nothing that would be loaded."""
    record = samples.demo() if name == "demo" else samples.COMPARISONS[name]()
    text = picture(record).decode()
    root = ET.fromstring(text)
    shown = " ".join(root.itertext())
    for comparison in record.comparisons if name == "demo" else [record]:
        for step in steps(comparison):
            assert step.value in shown
    assert "href" not in text
    assert "<script" not in text
    assert "<image" not in text


def test_every_colour_is_repainted_in_the_dark():
    """A colour that is not of the palette would stay as it is."""
    style = repaint()
    for name in ("question", "without_profile"):
        for width in (NARROW, 900):
            text = inline([samples.COMPARISONS[name]()], width)
            colours = set(re.findall(r'(?:fill|stroke)="(#[0-9a-fA-F]+)"', text))
            assert colours
            for colour in colours:
                assert f'="{colour}"]' in style
    assert len({colour.light for colour in PALETTE.values()}) == len(PALETTE)


def test_files(tmp_path):
    """Both kinds; not over one that exists; not of another kind."""
    comparison = samples.question()
    svg, png = tmp_path / "a.svg", tmp_path / "a.PNG"
    save_picture(comparison, svg)
    save_picture(comparison, png)
    assert svg.read_bytes() == picture(comparison)
    assert png.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputExistsError):
        save_picture(comparison, svg)
    save_picture(comparison, svg, force=True)
    with pytest.raises(UsageError, match=r"neither \.svg nor \.png"):
        save_picture(comparison, tmp_path / "a.gif")


def test_only_comparisons_have_factors(tmp_path):
    """Said before anything is written."""
    with pytest.raises(UsageError, match="no factors to draw"):
        picture(samples.cnn())
    with pytest.raises(UsageError, match="no factors to draw"):
        save_picture(samples.MACHINE, tmp_path / "a.svg")
    assert list(tmp_path.iterdir()) == []
