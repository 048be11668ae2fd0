"""Register tiles, and which kernels other networks of the same kinds of layers need: those for other sizes.

These are compiled with the first of their kind, so that the next network compiles nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from epochwise.engine.code import Kernel, Variant
from epochwise.engine.kernels import gradients, moves, products, updates, winograd
from epochwise.engine.target import MANY, Target

_HALF = 8
"""Lanes where whole vectors would be mostly padding."""

FEW_TAPS = 9
"""Taps that are kept in registers at once, with their weights."""

PICKED = (4, 8)
"""Floats of a run that :func:`~gradients.pooled_gradient_picked` may read at once."""

_DENSE, _CONVOLUTION = {1: 8, 2: 8, 3: 4, 4: 4}, {1: 8, 2: 8, 3: 6, 4: 6}

_FORWARD = {
    products.dense: "rows",
    products.dense_shares: "rows",
    products.convolution: "positions",
    winograd.winograd_convolution: "positions",
}
"""Products, and what the rows of a register tile are called in them."""
_OF_CONVOLUTIONS = (gradients.convolution_gradient, gradients.point_gradient, winograd.winograd_gradient)
_BACKWARD = (gradients.dense_gradient, gradients.dense_update, *_OF_CONVOLUTIONS)


def forward_rows(target: Target) -> Mapping[int, int]:
    """Rows of a register tile of a product, by its vectors, the best number of vectors first."""
    return {4: 4, 3: 5, 2: 8, 1: 8} if target.registers == MANY else {2: 6, 3: 4, 1: 8}


def dense_gradient_rows(vectors: int) -> int:
    """Rows of a register tile of the gradient of a dense layer's kernel."""
    return _DENSE[vectors]


def convolution_gradient_rows(vectors: int) -> int:
    """Rows of a register tile of the gradient of a convolution's kernel, whichever way it is worked out."""
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
    elif kernel is products.convolution and not fixed["relu"]:  # whose maps may have an even number of rows elsewhere
        yield from _tiled(winograd.winograd_convolution, {"add": fixed["add"]}, target)
        yield winograd.winograd_kernel(lanes=target.lanes)
    elif kernel is winograd.winograd_convolution:
        yield from _tiled(products.convolution, {"add": fixed["add"], "relu": False}, target)
    elif kernel is gradients.convolution_gradient:
        yield from _tiled(winograd.winograd_gradient, {}, target)
        yield winograd.winograd_kernel_gradient(lanes=target.lanes)
    elif kernel is winograd.winograd_gradient:
        yield from _tiled(gradients.convolution_gradient, {}, target)
    elif kernel is updates.update and fixed["clip"] != "norm":  # a gradient may be in copies or not
        yield from (kernel(**{**fixed, "lanes": lanes, "clear": not fixed["clear"]}) for lanes in every)
    elif kernel is products.dense_columns:
        yield from _tiled(products.dense, {"relu": False, "add": fixed["add"]}, target)
    elif kernel is moves.take:
        yield moves.take_columns(**fixed)
    elif kernel is moves.take_columns:
        yield moves.take(**fixed)
    elif kernel in (gradients.pooled_gradient_picked, gradients.pooled_gradient_masked):  # by filters and channels
        picked = gradients.pooled_gradient_picked
        yield from (picked(lanes=lanes, reach=reach) for lanes in every for reach in PICKED if 2 * reach <= lanes)
        rows = fixed.get("rows", FEW_TAPS)
        yield from (gradients.pooled_gradient_masked(lanes=lanes, rows=rows) for lanes in every)
        return
    elif kernel is gradients.convolution_input_gradient:
        yield from (kernel(**{**fixed, "lanes": lanes, "alone": alone}) for lanes in every for alone in (True, False))
    if kernel in (winograd.winograd_kernel, winograd.winograd_kernel_gradient):
        return
    if kernel in _FORWARD or kernel in _BACKWARD:
        yield from _tiled(kernel, fixed, target)
    else:
        yield from (kernel(**{**fixed, "lanes": lanes}) for lanes in every)


def _tiled(kernel: Kernel, fixed: Mapping[str, Any], target: Target) -> Iterator[Variant]:
    """A kernel with each length of vectors and each register tile."""
    only_whole = kernel in (winograd.winograd_convolution, winograd.winograd_gradient)
    for lanes in (target.lanes,) if only_whole else _lanes(target):
        for vectors, forward in forward_rows(target).items():
            if lanes < target.lanes and vectors % 2 == 0:
                continue  # two half vectors are a whole one
            if kernel in _FORWARD:
                tile = {_FORWARD[kernel]: forward}
            elif kernel in _OF_CONVOLUTIONS:
                tile = {"rows": convolution_gradient_rows(vectors)}
            else:
                tile = {"inputs": dense_gradient_rows(vectors)}
            yield kernel(**{**fixed, "lanes": lanes, "vectors": vectors, **tile})


def _lanes(target: Target) -> tuple[int, ...]:
    """Lengths of vectors in layers of that target."""
    return (target.lanes, _HALF) if target.lanes > _HALF else (target.lanes,)
