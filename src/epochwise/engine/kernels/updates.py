"""Optimizers: one pass over the weights, with the gradients of all threads added up on the way.

The formulas are those of Keras 3 (``keras/src/optimizers``): SGD ``m = momentum m - rate g; w = w + m`` (Nesterov:
``w = w + momentum m - rate g``); Adam ``m += (g - m)(1 - beta_1); v += (g^2 - v)(1 - beta_2); w -= stride m / (sqrt(v) +
epsilon)`` with ``stride = rate sqrt(1 - beta_2^t) / (1 - beta_1^t)``; weight decay before either: ``w -= w decay rate``.
"""

from __future__ import annotations

from epochwise.engine.code import Code, Place, Places, Run, kernel
from epochwise.engine.kernels.rows import SUMS
from epochwise.engine.simd import Doubles, Floats, Int, Longs, Vector


def _gradient(code: Code, gradient: Floats, at: Int, copies: Int, copy: Int, lanes: int, clear: bool) -> Vector:
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
    norms: Doubles,
    norms_in_all: Int,
    norms_thread: Int,
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
        norms: with ``clip="norm"``, ``norms_in_all`` sums of squares for each thread, ``norms_thread`` apart.
        first_rate: momentum, or ``1 - beta_1``; ``second_rate``: ``1 - beta_2``; rounded once, as Keras has them.
        limit: the largest element of a gradient, with ``clip="value"``; the longest gradient, with ``clip="norm"``.
    """
    penalty = code.variable(code.zero(lanes))
    factor = _shortening(code, norms, norms_in_all, norms_thread, place, limit) if clip == "norm" else limit
    numbers = (first_rate, second_rate, epsilon, decay)
    rule = Rule(code, run, place, (first_slot, second_slot), numbers, lanes, kind, momentum, nesterov, decays)
    with code.loop(place.first, place.last, lanes) as at:
        g = _gradient(code, gradient, at, copies, copy, lanes, clear)
        w = (weights + at).load(lanes)
        if penalties:
            g = g + _penalty_gradient(code, w, l1, l2)
            penalty.value = penalty.value + _penalty(w, l1, l2)
        if clip == "value":
            bound = limit.spread(lanes)
            g = (g > bound).choose(bound, (g < -bound).choose(-bound, g))
        elif clip == "norm":
            g = g * factor.spread(lanes)
        (weights + at).store(rule.moved(w, g, at))
    if penalties:
        (sums + place[Place.THREAD] * SUMS).add(penalty.value.sum() * place[Place.BATCH].as_float())


class Rule:
    """An optimizer in this step: how weights move by their gradient.

    Args:
        slots: momentum, or the two moments of Adam.
        numbers: momentum or ``beta_1``, ``beta_2``, epsilon, weight decay.
    """

    def __init__(
        self,
        code: Code,
        run: Longs,
        place: Places,
        slots: tuple[Floats, Floats],
        numbers: tuple[Vector, Vector, Vector, Vector],
        lanes: int,
        kind: str,
        momentum: bool,
        nesterov: bool,
        decays: bool,
    ) -> None:
        step = place[Place.STEP]
        self._rate = (code.pointer((run + Run.RATES).load(), Floats) + step).spread(lanes)
        self._stride = (code.pointer((run + Run.STRIDES).load(), Floats) + step).spread(lanes)
        self._first_rate, self._second_rate, self._epsilon, self._decay = (number.spread(lanes) for number in numbers)
        self._slots, self._kind, self._has, self._nesterov, self._decays = slots, kind, momentum, nesterov, decays

    def moved(self, w: Vector, g: Vector, at: Int) -> Vector:
        """The weights that lie ``at`` floats from the first, after the step."""
        if self._decays:
            w = w - w * self._decay * self._rate
        first, second = (slot + at for slot in self._slots)
        if self._kind == "sgd":
            return _sgd(w, g, self._rate, first, self._first_rate, self._has, self._nesterov)
        return _adam(w, g, self._stride, first, second, (self._first_rate, self._second_rate), self._epsilon)


def _penalty(w: Vector, l1: Vector, l2: Vector) -> Vector:
    return l1.spread(w.lanes) * w.abs() + l2.spread(w.lanes) * w * w


def _penalty_gradient(code: Code, w: Vector, l1: Vector, l2: Vector) -> Vector:
    """That of ``|w|`` at 0 is 0."""
    sign = (w > 0.0).choose(code.constant(1.0, w.lanes), (w < 0.0).choose(-1.0, code.zero(w.lanes)))
    return l1.spread(w.lanes) * sign + l2.spread(w.lanes) * w * 2.0


def _shortening(code: Code, norms: Doubles, many: Int, apart: Int, place: Places, limit: Vector) -> Vector:
    """``limit / max(length, limit)``, for the length of all gradients whose squares were added up."""
    total = code.variable(code.constant(0.0))
    with code.loop(0, place[Place.THREADS]) as thread, code.loop(0, many) as which:
        total.value = total.value + (norms + (thread * apart + which)).load()
    length = total.value.sqrt()
    return limit / (length < limit).choose(limit, length)


@kernel
def gather_gradient(
    code: Code,
    weights: Floats,
    gradient: Floats,
    copies: Int,
    copy: Int,
    sums: Doubles,
    norm: Doubles,
    norms_thread: Int,
    l1: Vector,
    l2: Vector,
    *,
    place: Places,
    lanes: int,
    clear: bool,
    penalties: bool,
) -> None:
    """Before clipping by length: the whole gradient into its first copy, penalties included, and the sum of its squares."""
    squares, penalty = code.variable(code.zero(lanes)), code.variable(code.zero(lanes))
    with code.loop(place.first, place.last, lanes) as at:
        g = _gradient(code, gradient, at, copies, copy, lanes, clear)
        if penalties:
            w = (weights + at).load(lanes)
            g = g + _penalty_gradient(code, w, l1, l2)
            penalty.value = penalty.value + _penalty(w, l1, l2)
        (gradient + at).store(g)
        squares.value = squares.value + g * g
    (norm + place[Place.THREAD] * norms_thread).store(squares.value.sum())
    if penalties:
        (sums + place[Place.THREAD] * SUMS).add(penalty.value.sum() * place[Place.BATCH].as_float())


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
    m = m + (g - m) * betas[0]
    v = v + (g * g - v) * betas[1]
    first.store(m)
    second.store(v)
    return w - m * stride / (v.sqrt() + epsilon)
