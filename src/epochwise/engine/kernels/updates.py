"""Optimizers: one pass over the weights, with the gradients of all threads added up on the way.

The formulas are those of Keras 3 (``keras/src/optimizers``): SGD ``m = momentum m - rate g; w = w + m`` (Nesterov:
``w = w + momentum m - rate g``); Adam ``m += (g - m)(1 - beta_1); v += (g^2 - v)(1 - beta_2); w -= stride m / (sqrt(v) + epsilon)``
with ``stride = rate sqrt(1 - beta_2^t) / (1 - beta_1^t)``; weight decay before either: ``w -= w decay rate``.
"""

from __future__ import annotations

from epochwise.engine.code import Code, Place, Places, Run, kernel
from epochwise.engine.kernels.rows import SUMS
from epochwise.engine.simd import Doubles, Floats, Int, Longs, Vector


def _gradient(
    code: Code, gradient: Floats, at: Int, copies: Int, copy: Int, lanes: int, clear: bool
) -> Vector:
    """The sum of all copies, in the order of the threads; the copies are cleared for the next step."""
    total = code.variable((gradient + at).load(lanes))
    if clear:
        (gradient + at).store(code.zero(lanes))
        with code.loop(1, copies) as number:
            there = gradient + (number * copy + at)
            total.value = total.value + there.load(lanes)
            there.store(code.zero(lanes))
    return total.value


@kernel
def update(
    code: Code,
    run: Longs,
    weights: Floats,
    first_slot: Floats,
    second_slot: Floats,
    gradient: Floats,
    copies: Int,
    copy: Int,
    sums: Doubles,
    factor: Floats,
    first_rate: Vector,
    second_rate: Vector,
    epsilon: Vector,
    decay: Vector,
    l1: Vector,
    l2: Vector,
    limit: Vector,
    *,
    place: Places,
    lanes: int,
    kind: str,
    momentum: bool,
    nesterov: bool,
    clear: bool,
    decays: bool,
    penalties: bool,
    clip: str,
) -> None:
    """One optimizer step for the weights ``first`` to ``last`` of the place.

    Args:
        first_slot, second_slot: momentum, or the two moments of Adam.
        gradient: with ``clear``, ``copies`` of it, ``copy`` floats apart, which are added and set to zero.
        factor: one number by which gradients are multiplied, with ``clip="norm"``.
        first_rate: momentum, or ``beta_1``; ``second_rate``: ``beta_2``.
        limit: the largest element of a gradient, with ``clip="value"``.
    """
    step = place[Place.STEP]
    rate = (code.pointer((run + Run.RATES).load(), Floats) + step).spread(lanes)
    penalty = code.variable(code.zero(lanes))
    with code.loop(place.first, place.last, lanes) as at:
        g = _gradient(code, gradient, at, copies, copy, lanes, clear)
        w = (weights + at).load(lanes)
        if penalties:
            size = w.abs()
            sign = (w > 0.0).choose(code.constant(1.0, lanes), (w < 0.0).choose(-1.0, code.zero(lanes)))
            g = g + l1.spread(lanes) * sign + l2.spread(lanes) * w * 2.0
            penalty.value = penalty.value + l1.spread(lanes) * size + l2.spread(lanes) * w * w
        if clip == "value":
            bound = limit.spread(lanes)
            g = (g > bound).choose(bound, (g < -bound).choose(-bound, g))
        elif clip == "norm":
            g = g * factor.spread(lanes)
        if decays:
            w = w - w * decay.spread(lanes) * rate
        if kind == "sgd":
            w = _sgd(w, g, rate, first_slot + at, first_rate.spread(lanes), momentum, nesterov)
        else:
            stride = (code.pointer((run + Run.STRIDES).load(), Floats) + step).spread(lanes)
            betas = (first_rate.spread(lanes), second_rate.spread(lanes))
            w = _adam(w, g, stride, first_slot + at, second_slot + at, betas, epsilon.spread(lanes))
        (weights + at).store(w)
    if penalties:
        (sums + place[Place.THREAD] * SUMS).add(penalty.value.sum() * place[Place.BATCH].float())


def _sgd(w: Vector, g: Vector, rate: Vector, slot: Floats, momentum: Vector, has: bool, nesterov: bool) -> Vector:
    if not has:
        return w - rate * g
    moved = slot.load(w.lanes) * momentum - rate * g
    slot.store(moved)
    return w + momentum * moved - rate * g if nesterov else w + moved


def _adam(
    w: Vector, g: Vector, stride: Vector, first: Floats, second: Floats, betas: tuple[Vector, Vector], epsilon: Vector
) -> Vector:
    m, v = first.load(w.lanes), second.load(w.lanes)
    m = m + (g - m) * (1.0 - betas[0])
    v = v + (g * g - v) * (1.0 - betas[1])
    first.store(m)
    second.store(v)
    return w - m * stride / (v.sqrt() + epsilon)
