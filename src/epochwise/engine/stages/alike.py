"""Register tiles, and which kernels other networks of the same kinds of layers need: those for other sizes.

These are compiled with the first of their kind, so that the next network compiles nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from epochwise.engine.code import Kernel, Variant
from epochwise.engine.kernels import gradients, moves, products
from epochwise.engine.target import MANY, Target

_HALF = 8
"""Lanes where whole vectors would be mostly padding."""

PICKED = (4, 8)
"""Floats of a run that :func:`~gradients.pooled_gradient_picked` may read at once."""

_DENSE, _CONVOLUTION = {1: 8, 2: 8, 3: 4, 4: 4}, {1: 8, 2: 8, 3: 6, 4: 6}

_FORWARD = {products.dense: "rows", products.dense_shares: "rows", products.convolution: "positions"}
"""Products, and what the rows of a register tile are called in them."""
_BACKWARD = (gradients.dense_gradient, gradients.dense_update, gradients.convolution_gradient, gradients.point_gradient)


def forward_rows(target: Target) -> Mapping[int, int]:
    """Rows of a register tile of a product, by its vectors, the best number of vectors first."""
    return {4: 4, 3: 5, 2: 8, 1: 8} if target.registers == MANY else {2: 6, 3: 4, 1: 8}


def dense_gradient_rows(vectors: int) -> int:
    """Rows of a register tile of the gradient of a dense layer's kernel."""
    return _DENSE[vectors]


def convolution_gradient_rows(vectors: int) -> int:
    """Rows of a register tile of the gradient of a convolution's kernel."""
    return _CONVOLUTION[vectors]


def alike(variants: Iterable[Variant], target: Target) -> list[Variant]:
    """These kernels and those that the same layers need with other sizes, each once."""
    return list(dict.fromkeys(other for variant in variants for other in (variant, *_others(variant, target))))


def _others(variant: Variant, target: Target) -> Iterator[Variant]:
    fixed, kernel = dict(variant.fixed), variant.kernel
    every = _lanes(target)
    if kernel is moves.turn:
        yield from (moves.turn(block=lanes) for lanes in every)
    if fixed.get("lanes") not in every:
        return  # for a few channels without padding, or the same for all sizes
    if kernel is products.dense:  # large layers are split among threads, and small ones are not
        if not fixed["add"]:
            yield from _tiled(products.dense_shares, {}, target)
            yield from (products.join_shares(lanes=lanes, relu=fixed["relu"]) for lanes in every)
        if not fixed["relu"]:
            rows = forward_rows(target)[1]
            yield from (products.dense_columns(lanes=lanes, rows=rows, add=fixed["add"]) for lanes in every)
    elif kernel is products.join_shares:
        yield from _tiled(products.dense, {"relu": fixed["relu"], "add": False}, target)
    elif kernel is products.dense_columns:
        yield from _tiled(products.dense, {"relu": False, "add": fixed["add"]}, target)
    elif kernel is moves.take:
        yield moves.take_columns(**fixed)
    elif kernel is moves.take_columns:
        yield moves.take(**fixed)
    elif kernel is gradients.pooled_gradient_picked:
        yield from (kernel(lanes=lanes, reach=reach) for lanes in every for reach in PICKED if 2 * reach <= lanes)
        return
    elif kernel is gradients.convolution_input_gradient:
        yield from (kernel(**{**fixed, "lanes": lanes, "alone": alone}) for lanes in every for alone in (True, False))
    if kernel in _FORWARD or kernel in _BACKWARD:
        yield from _tiled(kernel, fixed, target)
    else:
        yield from (kernel(**{**fixed, "lanes": lanes}) for lanes in every)


def _tiled(kernel: Kernel, fixed: Mapping[str, Any], target: Target) -> Iterator[Variant]:
    """A kernel with each length of vectors and each register tile."""
    for lanes in _lanes(target):
        for vectors, forward in forward_rows(target).items():
            if lanes < target.lanes and vectors % 2 == 0:
                continue  # two half vectors are a whole one
            if kernel in _FORWARD:
                tile = {_FORWARD[kernel]: forward}
            elif kernel in (gradients.convolution_gradient, gradients.point_gradient):
                tile = {"rows": convolution_gradient_rows(vectors)}
            else:
                tile = {"inputs": dense_gradient_rows(vectors)}
            yield kernel(**{**fixed, "lanes": lanes, "vectors": vectors, **tile})


def _lanes(target: Target) -> tuple[int, ...]:
    """Lengths of vectors in layers of that target."""
    return (target.lanes, _HALF) if target.lanes > _HALF else (target.lanes,)
