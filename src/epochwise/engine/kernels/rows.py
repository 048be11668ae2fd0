"""Softmax over the last axis, losses and metrics: what is done row by row.

Legend: a row has ``classes`` numbers, padded to ``padded``; ``rows`` rows belong to each sample (1 for a classifier). ``keep``
is 1 for each real class and 0 for padding. Losses are means over the rows of a batch, so gradients carry the factor
weight / (samples * rows). Sums go to ``sums``, ``SUMS`` float64 numbers for each thread: the loss, then the metrics.
"""

from __future__ import annotations

from epochwise.engine.code import Code, Place, Places, Run, kernel, kernel_of_many
from epochwise.engine.kernels.functions import exp, log, log1p_exp_of_minus_abs, sigmoid
from epochwise.engine.simd import Doubles, Floats, Int, Longs, Vector, Words

SUMS = 32
"""Float64 numbers for each thread, so that no two threads write to one cache line."""

MOST_METRICS = SUMS - 1
"""Beside the loss."""

_EPSILON = 1e-7
"""Keras's ``backend.epsilon()``: probabilities are clipped to [1e-7, 1 - 1e-7]."""


def _largest(code: Code, x: Floats, keep: Floats, padded: Int, lanes: int) -> Vector:
    """The largest real number of a row, in every lane."""
    best = code.variable(code.constant(float("-inf"), lanes))
    with code.loop(0, padded, lanes) as i:
        number = (x + i).load(lanes)
        best.value = best.value.max(((keep + i).load(lanes) > 0.0).choose(number, float("-inf")))
    return best.value.largest().spread(lanes)


def _exponentials(code: Code, x: Floats, y: Floats, keep: Floats, padded: Int, lanes: int) -> tuple[Vector, Vector]:
    """``y = e^(x - largest)``; the largest, and the sum of ``y``, as single numbers."""
    largest = _largest(code, x, keep, padded, lanes)
    total = code.variable(code.zero(lanes))
    with code.loop(0, padded, lanes) as i:
        number = exp(code, (x + i).load(lanes) - largest)
        number = ((keep + i).load(lanes) > 0.0).choose(number, 0.0)
        (y + i).store(number)
        total.value = total.value + number
    return largest.lanes_of(range(1)) if lanes > 1 else largest, total.value.sum()


@kernel
def softmax(code: Code, x: Floats, y: Floats, keep: Floats, rows: Int, padded: Int, *, place: Places, lanes: int) -> None:
    """``y = e^x / sum of e^x`` over each row."""
    with code.loop(place.first * rows, place.last * rows) as row:
        target = y + row * padded
        _, total = _exponentials(code, x + row * padded, target, keep, padded, lanes)
        divisor = total.spread(lanes)
        with code.loop(0, padded, lanes) as i:
            (target + i).store((target + i).load(lanes) / divisor)


@kernel
def softmax_gradient(
    code: Code, y: Floats, dy: Floats, dx: Floats, rows: Int, padded: Int, *, place: Places, lanes: int, add: bool
) -> None:
    """``dx = y (dy - sum of y dy)`` over each row."""
    with code.loop(place.first * rows, place.last * rows) as row:
        at, arriving, target = y + row * padded, dy + row * padded, dx + row * padded
        total = code.variable(code.zero(lanes))
        with code.loop(0, padded, lanes) as i:
            total.value = total.value + (at + i).load(lanes) * (arriving + i).load(lanes)
        mean = total.value.sum().spread(lanes)
        with code.loop(0, padded, lanes) as i:
            number = (at + i).load(lanes) * ((arriving + i).load(lanes) - mean)
            (target + i).store((target + i).load(lanes) + number if add else number)


class _Row:
    """One row of the output, its answer and its weight."""

    def __init__(self, code: Code, run: Longs, place: Places, row: Int, rows: Int, weighted: bool) -> None:
        sample = row // rows
        order = code.pointer((run + Run.ORDER).load(), Longs) + place[Place.START]
        which = (order + sample).load()
        self.answer = which * rows + row % rows
        weights = code.pointer((run + Run.WEIGHTS).load(), Floats)
        self.weight = (weights + which).load() if weighted else code.constant(1.0)
        self.scale = self.weight / (place[Place.BATCH] * rows).as_float()


def _add_loss(sums: Doubles, place: Places, loss: Vector, row: _Row, rows: Int) -> None:
    (sums + place[Place.THREAD] * SUMS).add(loss * row.weight / rows.as_float())


@kernel_of_many
def sparse_cross_entropy(
    code: Code,
    run: Longs,
    x: Floats,
    dx: Floats,
    keep: Floats,
    sums: Doubles,
    rows: Int,
    padded: Int,
    *,
    place: Places,
    lanes: int,
    logits: bool,
    weighted: bool,
) -> None:
    """-log of the probability of the right class, and its gradient.

    From logits: ``log(sum e^x) - x[right]``. From probabilities: they are clipped as Keras does, and where the clip acts there
    is no gradient.
    """
    answers = code.pointer((run + Run.ANSWERS).load(), Words)
    with code.loop(place.first * rows, place.last * rows) as number:
        row = _Row(code, run, place, number, rows, weighted)
        at, target = x + number * padded, dx + number * padded
        right = (answers + row.answer).load()
        if logits:
            largest, total = _exponentials(code, at, target, keep, padded, lanes)
            factor = (row.scale / total).spread(lanes)
            with code.loop(0, padded, lanes) as i:
                (target + i).store((target + i).load(lanes) * factor)
            there = target + right
            there.store(there.load() - row.scale)
            _add_loss(sums, place, log(code, total) + largest - (at + right).load(), row, rows)
        else:
            with code.loop(0, padded, lanes) as i:
                (target + i).store(code.zero(lanes))
            probability, slope = _clipped((at + right).load())
            (target + right).store(-(row.scale * slope))
            _add_loss(sums, place, -log(code, probability), row, rows)


def _clipped(p: Vector) -> tuple[Vector, Vector]:
    """A probability within Keras's bounds, and the slope of its logarithm: 0 where the bounds act. NaN stays NaN."""
    outside = (p < _EPSILON) | (p > 1.0 - _EPSILON)
    clipped = p.max(_EPSILON).min(1.0 - _EPSILON)
    return clipped, outside.choose(0.0, 1.0 / clipped)


@kernel_of_many
def cross_entropy(
    code: Code,
    run: Longs,
    x: Floats,
    dx: Floats,
    keep: Floats,
    sums: Doubles,
    rows: Int,
    classes: Int,
    padded: Int,
    smoothing: Vector,
    *,
    place: Places,
    lanes: int,
    logits: bool,
    weighted: bool,
) -> None:
    """``- sum of t log p`` for answers ``t`` of ``classes`` numbers, with its gradient, as :func:`sparse_cross_entropy`."""
    answers = code.pointer((run + Run.ANSWERS).load(), Floats)
    with code.loop(place.first * rows, place.last * rows) as number:
        row = _Row(code, run, place, number, rows, weighted)
        at, target = x + number * padded, dx + number * padded
        wanted = answers + row.answer * classes
        loss = code.variable(code.constant(0.0))
        if logits:
            largest, total = _exponentials(code, at, target, keep, padded, lanes)
            level = log(code, total) + largest
            answer_sum = code.variable(code.constant(0.0))
            with code.loop(0, classes) as i:
                t = _smoothed((wanted + i).load(), smoothing, classes)
                answer_sum.value = answer_sum.value + t
                loss.value = loss.value + t * (level - (at + i).load())
            with code.loop(0, classes) as i:
                t = _smoothed((wanted + i).load(), smoothing, classes)
                there = target + i
                there.store((there.load() / total * answer_sum.value - t) * row.scale)
        else:
            with code.loop(0, classes) as i:
                t = _smoothed((wanted + i).load(), smoothing, classes)
                probability, slope = _clipped((at + i).load())
                loss.value = loss.value - t * log(code, probability)
                (target + i).store(-(t * slope * row.scale))
        _add_loss(sums, place, loss.value, row, rows)


def _smoothed(t: Vector, smoothing: Vector, classes: Int) -> Vector:
    return t * (1.0 - smoothing) + smoothing / classes.as_float()


@kernel_of_many
def binary_cross_entropy(
    code: Code,
    run: Longs,
    x: Floats,
    dx: Floats,
    sums: Doubles,
    rows: Int,
    classes: Int,
    padded: Int,
    smoothing: Vector,
    *,
    place: Places,
    logits: bool,
    weighted: bool,
) -> None:
    """The mean over ``classes`` of ``- t log p - (1 - t) log(1 - p)``, and its gradient.

    From logits: ``max(x, 0) - x t + log(1 + e^-|x|)``. From probabilities: clipped, without a gradient where the clip acts.
    """
    answers = code.pointer((run + Run.ANSWERS).load(), Floats)
    with code.loop(place.first * rows, place.last * rows) as number:
        row = _Row(code, run, place, number, rows, weighted)
        at, target = x + number * padded, dx + number * padded
        wanted = answers + row.answer * classes
        loss = code.variable(code.constant(0.0))
        scale = row.scale / classes.as_float()
        with code.loop(0, classes) as i:
            t = (wanted + i).load() * (1.0 - smoothing) + smoothing * 0.5
            number_at = (at + i).load()
            if logits:
                positive = (number_at < 0.0).choose(0.0, number_at)
                loss.value = loss.value + positive - number_at * t + log1p_exp_of_minus_abs(code, number_at)
                slope = sigmoid(code, number_at) - t
            else:
                p, slope_of_log = _clipped(number_at)
                loss.value = loss.value - t * log(code, p) - (1.0 - t) * log(code, 1.0 - p)
                slope = slope_of_log.equals(0.0).choose(0.0, (p - t) / (p * (1.0 - p)))
            (target + i).store(slope * scale)
        _add_loss(sums, place, loss.value / classes.as_float(), row, rows)


@kernel_of_many
def squared_error(
    code: Code,
    run: Longs,
    x: Floats,
    dx: Floats,
    sums: Doubles,
    rows: Int,
    classes: Int,
    padded: Int,
    *,
    place: Places,
    weighted: bool,
) -> None:
    """The mean over ``classes`` of ``(x - t)^2``, and its gradient."""
    answers = code.pointer((run + Run.ANSWERS).load(), Floats)
    with code.loop(place.first * rows, place.last * rows) as number:
        row = _Row(code, run, place, number, rows, weighted)
        at, target = x + number * padded, dx + number * padded
        wanted = answers + row.answer * classes
        loss = code.variable(code.constant(0.0))
        scale = row.scale * 2.0 / classes.as_float()
        with code.loop(0, classes) as i:
            difference = (at + i).load() - (wanted + i).load()
            loss.value = loss.value + difference * difference
            (target + i).store(difference * scale)
        _add_loss(sums, place, loss.value / classes.as_float(), row, rows)


@kernel_of_many
def metric(
    code: Code,
    run: Longs,
    x: Floats,
    sums: Doubles,
    number_of_metric: Int,
    rows: Int,
    classes: Int,
    padded: Int,
    threshold: Vector,
    *,
    place: Places,
    kind: str,
    weighted: bool,
) -> None:
    """Add one metric over the rows of the place."""
    answers = (run + Run.ANSWERS).load()
    with code.loop(place.first * rows, place.last * rows) as number:
        row = _Row(code, run, place, number, rows, weighted)
        at = x + number * padded
        if kind == "sparse_categorical_accuracy":
            right = (code.pointer(answers, Words) + row.answer).load()
            value = _place_of_largest(code, at, classes).equals(right).choose(1, 0).as_float()
        else:
            wanted = code.pointer(answers, Floats) + row.answer * classes
            value = _value(code, kind, at, wanted, classes, threshold)
        (sums + (place[Place.THREAD] * SUMS + 1 + number_of_metric)).add(value * row.weight / rows.as_float())


def _place_of_largest(code: Code, x: Floats, classes: Int) -> Int:
    """Of equal ones the first."""
    best, where = code.variable(x.load()), code.variable(code.whole(0))
    with code.loop(1, classes) as i:
        number = (x + i).load()
        with code.when((number > best.value).single()):
            best.value = number
            where.value = i
    return where.value


def _value(code: Code, kind: str, x: Floats, wanted: Floats, classes: Int, threshold: Vector) -> Vector:
    if kind == "categorical_accuracy":
        return _place_of_largest(code, x, classes).equals(_place_of_largest(code, wanted, classes)).choose(1, 0).as_float()
    total = code.variable(code.constant(0.0))
    with code.loop(0, classes) as i:
        number, answer = (x + i).load(), (wanted + i).load()
        match kind:
            case "binary_accuracy":
                one = (number > threshold).choose(1.0, code.constant(0.0))
                total.value = total.value + answer.equals(one).choose(1.0, code.constant(0.0))
            case "mean_squared_error":
                total.value = total.value + (number - answer) * (number - answer)
            case "mean_absolute_error":
                total.value = total.value + (number - answer).abs()
            case _:
                raise AssertionError(kind)
    return total.value / classes.as_float()
