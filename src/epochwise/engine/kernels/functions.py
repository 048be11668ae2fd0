"""Exponential, logarithm and what is made of them, on vectors, to a few units in the last place.

The polynomials are those of Cephes (S. Moshier, netlib.org/cephes, single precision: ``expf``, ``logf``, ``erff``, ``tanhf``).
"""

from __future__ import annotations

from collections.abc import Sequence

from epochwise.engine.code import Code
from epochwise.engine.simd import Vector

_LOG2_E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_SMALLEST = 1.17549435e-38
"""The smallest normal float32."""

_SQRT2 = 1.41421356
_TANH_NEAR, _ERF_NEAR = 0.625, 2.0
"""Where Cephes goes from one polynomial to another."""

_TANH_ONE = 10.0
"""From here on, tanh is 1 in float32."""

_LOWEST, _HIGHEST = -87.33654, 88.72283
"""Below the first, e^x is not a normal float32; above the second it is infinite."""


def polynomial(x: Vector, coefficients: Sequence[float]) -> Vector:
    """By Horner's rule, the highest power first."""
    total = x.code.constant(coefficients[0], x.lanes)
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def exp(code: Code, x: Vector) -> Vector:
    """e^x: 0 below -87.3, infinite above 88.7, NaN for NaN."""
    power, value = _parts(x.max(_LOWEST).min(_HIGHEST))
    # In two steps, since 2^128 is no float32 although e^88.7 is one.
    half = (power * 0.5).floor()
    value = value * code.power_of_two(half) * code.power_of_two(power - half)
    value = (x < _LOWEST).choose(0.0, value)
    value = (x > _HIGHEST).choose(float("inf"), value)
    return x.equals(x).choose(value, x)


def _parts(x: Vector) -> tuple[Vector, Vector]:
    """``p`` and ``r`` with e^x = 2^p r, for x that is not far from 0."""
    power = (x * _LOG2_E + 0.5).floor()
    rest = x - power * _LN2_HIGH - power * _LN2_LOW
    series = polynomial(
        rest, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
    )
    return power, series * rest * rest + rest + 1.0


def log(code: Code, x: Vector) -> Vector:
    """The natural logarithm: -infinite for 0 (and for what is smaller than any normal number), NaN below 0 and for NaN."""
    exponent, fraction = code.split(x)
    large = fraction > _SQRT2
    exponent = large.choose(exponent + 1.0, exponent)
    rest = large.choose(fraction * 0.5, fraction) - 1.0
    square = rest * rest
    series = polynomial(
        rest,
        (
            7.0376836292e-2,
            -1.1514610310e-1,
            1.1676998740e-1,
            -1.2420140846e-1,
            1.4249322787e-1,
            -1.6668057665e-1,
            2.0000714765e-1,
            -2.4999993993e-1,
            3.3333331174e-1,
        ),
    )
    value = series * rest * square + exponent * _LN2_LOW - square * 0.5 + rest + exponent * _LN2_HIGH
    value = (x < _SMALLEST).choose(float("-inf"), value)
    value = x.equals(float("inf")).choose(x, value)
    return (x >= 0.0).choose(value, float("nan"))


def sigmoid(code: Code, x: Vector) -> Vector:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exp(code, -x))


def log1p_exp_of_minus_abs(code: Code, x: Vector) -> Vector:
    """log(1 + e^-|x|): what cross-entropy adds to the larger of the logit and 0, without overflow."""
    small = exp(code, -x.abs())
    plus_one = small + 1.0
    # log1p by Kahan: exact where 1 + small rounds to 1, and corrects what rounding took elsewhere.
    rounded = plus_one - 1.0
    return rounded.equals(0.0).choose(small, log(code, plus_one) * small / rounded)


def tanh(code: Code, x: Vector) -> Vector:
    """The hyperbolic tangent."""
    size = x.abs()
    square = x * x
    near_zero = (
        polynomial(square, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1))
        * square
        * x
        + x
    )
    within = size.min(_TANH_ONE)
    power, rest = _parts(within + within)
    far = 1.0 - 2.0 / (rest * code.power_of_two(power) + 1.0)
    signed = (x < 0.0).choose(-far, far)
    value = (size < _TANH_NEAR).choose(near_zero, signed)
    return x.equals(x).choose(value, x)


def erf(code: Code, x: Vector) -> Vector:
    """The error function. Above 1 it is 1 - erfc (Cephes ``erfcf``)."""
    square = x * x
    near_zero = x * polynomial(
        square,
        (
            7.853861353153693e-5,
            -8.010193625184903e-4,
            5.188327685732524e-3,
            -2.685381193529856e-2,
            1.128358514861418e-1,
            -3.761262582423300e-1,
            1.128379165726710,
        ),
    )
    size = x.abs().max(1.0).min(10.0)
    inverse = 1.0 / size
    powers = inverse * inverse
    near = polynomial(
        powers,
        (
            2.326819970068386e-2,
            -1.387039388740657e-1,
            3.687424674597105e-1,
            -5.824733027278666e-1,
            6.210004621745983e-1,
            -4.944515323274145e-1,
            3.404879937665872e-1,
            -2.741127028184656e-1,
            5.638259427386472e-1,
        ),
    )
    beyond = polynomial(
        powers,
        (
            -1.047766399936249e1,
            1.297719955372516e1,
            -7.495518717768503,
            2.921019019210786,
            -1.015265279202700,
            4.218463358204948e-1,
            -2.820767439740514e-1,
            5.641895067754075e-1,
        ),
    )
    far = 1.0 - exp(code, -(size * size)) * inverse * (size < _ERF_NEAR).choose(near, beyond)
    signed = (x < 0.0).choose(-far, far)
    value = (x.abs() < 1.0).choose(near_zero, signed)
    return x.equals(x).choose(value, x)
