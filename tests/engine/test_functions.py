"""Exponential and its kin, against float64, over all that float32 can hold."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest

from epochwise.engine.code import Call, Code, Place, kernel
from epochwise.engine.kernels import functions
from epochwise.engine.library import Library
from epochwise.engine.simd import Floats, Int
from epochwise.engine.target import this_target

LIBRARY = Library(this_target())
LANES = this_target().lanes


@kernel
def apply(code: Code, x: Floats, y: Floats, size: Int, *, function: str, lanes: int) -> None:
    """``y = function(x)``."""
    with code.loop(0, size, lanes) as i:
        (y + i).store(getattr(functions, function)(code, (x + i).load(lanes)))


def applied(function, x, lanes=LANES):
    padded = np.zeros(-(-len(x) // lanes) * lanes, np.float32)
    padded[: len(x)] = x
    y = np.empty_like(padded)
    variant = apply(function=function, lanes=lanes)
    words = Call(variant, {"x": padded, "y": y, "size": len(padded)}).words()
    place = np.zeros(len(Place), np.int64)
    address = LIBRARY.load([variant])[variant]
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(address)(words.ctypes.data, place.ctypes.data)
    return y[: len(x)]


def units(y, exact):
    """The error in units of the last place of the exact result."""
    with np.errstate(over="ignore"):
        narrow = exact.astype(np.float32)
    return np.abs(y.astype(np.float64) - exact) / np.spacing(np.maximum(np.abs(narrow), np.finfo(np.float32).tiny))


ERF = np.vectorize(math.erf, otypes=[np.float64])
DENSE = np.concatenate([np.linspace(-12, 12, 200_001), np.geomspace(1e-30, 80, 50_001), -np.geomspace(1e-30, 80, 50_001)])


@pytest.mark.parametrize("lanes", sorted({1, 4, LANES}))
@pytest.mark.parametrize(
    ("function", "exact", "x", "most"),
    [
        ("exp", np.exp, DENSE, 2),
        ("exp", np.exp, np.linspace(-87, 88.7, 100_001), 2),
        ("log", np.log, np.geomspace(1.2e-38, 3e38, 300_001), 2),
        ("log", np.log, np.linspace(0.5, 2, 100_001), 2),
        ("tanh", np.tanh, DENSE, 2),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), DENSE, 3),
        ("erf", ERF, DENSE, 3),
        ("log1p_exp_of_minus_abs", lambda x: np.log1p(np.exp(-np.abs(x))), DENSE, 4),
    ],
)
def test_to_a_few_units_in_the_last_place(function, exact, x, most, lanes):
    """Every result is within a few units of the last place of the exact one."""
    x = x.astype(np.float32)
    assert units(applied(function, x, lanes), exact(x.astype(np.float64))).max() <= most


@pytest.mark.parametrize(
    ("function", "x", "y"),
    [
        ("exp", [-np.inf, -200, 0, 89, np.inf, np.nan], [0, 0, 1, np.inf, np.inf, np.nan]),
        ("log", [-1, 0, 1, np.inf, np.nan], [np.nan, -np.inf, 0, np.inf, np.nan]),
        ("tanh", [-np.inf, -100, 0, 100, np.inf, np.nan], [-1, -1, 0, 1, 1, np.nan]),
        ("sigmoid", [-np.inf, -200, 0, 200, np.inf, np.nan], [0, 0, 0.5, 1, 1, np.nan]),
        ("erf", [-np.inf, -20, 0, 20, np.inf, np.nan], [-1, -1, 0, 1, 1, np.nan]),
        ("log1p_exp_of_minus_abs", [-300, 0, 300, np.nan], [0, np.log(2), 0, np.nan]),
    ],
)
def test_ends(function, x, y):
    """What is infinite, out of reach or NaN."""
    np.testing.assert_allclose(applied(function, np.array(x, np.float32)), np.array(y, np.float32), rtol=1e-6)
