"""The product of the factors is the measured time, and that of their ratios the measured ratio, always."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from epochwise.explaining.identity import RATIO_FACTORS, Quantities, factors_of, product, ratio_of
from epochwise.measuring.measurement import Interval

positive = st.floats(1e-9, 1e12)


@st.composite
def quantities(draw: st.DrawFn) -> Quantities:
    """Any model: without weights, without MACs, without a profile, or with all of them."""
    busy = draw(st.none() | positive.map(lambda seconds: Interval(seconds, 0.9 * seconds, 1.1 * seconds)))
    flops, peak = draw(st.just(0.0) | positive), draw(positive)
    memory = draw(st.floats(1.0, 1e6))
    return Quantities(
        parameters=draw(st.just(0) | st.integers(1, 10**11)),
        flops=flops,
        peak=peak,
        roofline=memory * flops / peak if flops else draw(st.just(0.0) | positive),
        busy=busy,
        wall=draw(positive),
    )


def on_the_same_machine(first: Quantities, second: Quantities) -> Quantities:
    """The second as it would be on the first's machine."""
    scale = second.peak / first.peak if second.flops else 1.0
    return second._replace(peak=first.peak, roofline=second.roofline * scale)


@given(quantities())
def test_the_factors_make_the_epoch(known: Quantities) -> None:
    """Whatever is unknown, the factors that are shown multiply to the wall time."""
    assert math.isclose(product(factors_of(known)), known.wall, rel_tol=1e-9)


@given(quantities(), quantities())
def test_the_ratios_make_the_ratio(first: Quantities, second: Quantities) -> None:
    """The factors' ratios that are known multiply to the ratio of the wall times, machine cancelling."""
    second = on_the_same_machine(first, second)
    factors = ratio_of(first, second)
    assert math.isclose(
        math.prod(each.ratio for each in factors if each.ratio is not None), second.wall / first.wall, rel_tol=1e-9
    )


@given(quantities(), quantities())
def test_every_factor_is_named_once(first: Quantities, second: Quantities) -> None:
    """All five names appear, each known or unknown, and what is unknown stands in exactly one joined factor."""
    factors = ratio_of(first, on_the_same_machine(first, second))
    assert tuple(each.name for each in factors if " x " not in each.name) == RATIO_FACTORS
    unknown = [each.name for each in factors if each.ratio is None]
    joined = [name for each in factors if " x " in each.name for name in each.name.split(" x ")]
    assert sorted(unknown) == sorted(joined)


def test_the_questions_own_figures() -> None:
    """1/16.5 of the parameters, each used 89 times as often, is 5.40 times the arithmetic."""
    images = 60_000
    mlp = Quantities(55_050, 2 * 114_560 * images, 1e11, 0.1, Interval(0.2, 0.2, 0.2), 1.0)
    cnn = Quantities(3_330, 2 * 618_864 * images, 1e11, 0.6, Interval(3.0, 3.0, 3.0), 8.0)
    ratios = {each.name: each.ratio for each in ratio_of(mlp, cnn)}
    assert math.isclose(1 / ratios["parameters"], 16.53, rel_tol=1e-3)
    assert math.isclose(ratios["reuse"], 89.3, rel_tol=1e-3)
    assert math.isclose(ratios["parameters"] * ratios["reuse"], 5.402, rel_tol=1e-3)
    assert math.isclose(math.prod(ratios.values()), 8.0, rel_tol=1e-12)


def test_bounds_enclose_the_ratio() -> None:
    """What the profiler's cost leaves open is given as bounds around the figure, for kernels and waiting alone."""
    one = Quantities(10, 1e6, 1e9, 0.1, Interval(0.5, 0.4, 0.6), 1.0)
    two = Quantities(10, 1e6, 1e9, 0.1, Interval(0.7, 0.6, 0.8), 2.0)
    for factor in ratio_of(one, two):
        assert (factor.low is None) == (factor.name not in ("kernels", "waiting"))
        if factor.low is not None:
            assert factor.low < factor.ratio < factor.high
