"""Pooling that is not fused with a convolution, dropout, and nearest upsampling.

Legend: maps have ``channels`` numbers (padded) for each pixel. A pooled position looks at pixels whose numbers begin at
``starts[position * size + i]`` floats from the sample's beginning; places outside the map are marked with -1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

from epochwise.engine.code import Code, Place, Places, Run, kernel
from epochwise.engine.simd import FLOAT, INT, Floats, Int, Longs, Vector


@contextmanager
def _pixels(code: Code, starts: Longs, position: Int, size: Int) -> Iterator[tuple[Int, Int]]:
    """For each pixel of a window that lies in the map: its number in the window, and where it begins."""
    with code.loop(0, size) as i:
        at = (starts + (position * size + i)).load()
        with code.when(at >= 0):
            yield i, at


@kernel
def max_pool(
    code: Code,
    x: Floats,
    y: Floats,
    winners: Floats,
    starts: Longs,
    positions: Int,
    size: Int,
    channels: Int,
    x_sample: Int,
    *,
    place: Places,
    lanes: int,
) -> None:
    """The largest of each window, and its number in the window; of equal ones the first, and NaN wins."""
    with code.loop(place.first, place.last) as sample:
        source = x + sample * x_sample
        with code.loop(0, positions) as position, code.loop(0, channels, lanes) as channel:
            best, which = code.variable(code.constant(float("-inf"), lanes)), code.variable(code.constant(-1.0, lanes))
            with _pixels(code, starts, position, size) as (i, at):
                number = (source + (at + channel)).load(lanes)
                wins = number.above_or_nan(best.value) | (which.value < 0.0)
                best.value = wins.choose(number, best.value)
                which.value = wins.choose(i.as_float().spread(lanes), which.value)
            there = (sample * positions + position) * channels + channel
            (y + there).store(best.value)
            (winners + there).store(which.value)


@kernel
def max_pool_gradient(
    code: Code,
    dy: Floats,
    winners: Floats,
    dx: Floats,
    starts: Longs,
    positions: Int,
    size: Int,
    channels: Int,
    x_sample: Int,
    *,
    place: Places,
    lanes: int,
    add: bool,
) -> None:
    """Each window's gradient goes to its winner; with ``add`` to what is there, else the samples are cleared first."""
    with code.loop(place.first, place.last) as sample:
        target = dx + sample * x_sample
        _clear(code, target, x_sample, lanes, add)
        with code.loop(0, positions) as position, code.loop(0, channels, lanes) as channel:
            there = (sample * positions + position) * channels + channel
            arriving, winner = (dy + there).load(lanes), (winners + there).load(lanes)
            with _pixels(code, starts, position, size) as (i, at):
                pixel = target + (at + channel)
                share = winner.equals(i.as_float().spread(lanes)).choose(arriving, 0.0)
                pixel.store(pixel.load(lanes) + share)


def _clear(code: Code, target: Floats, size: Int, lanes: int, add: bool) -> None:
    if not add:
        with code.loop(0, size, lanes) as i:
            (target + i).store(code.zero(lanes))


@kernel
def average_pool(
    code: Code,
    x: Floats,
    y: Floats,
    starts: Longs,
    shares: Floats,
    positions: Int,
    size: Int,
    channels: Int,
    x_sample: Int,
    *,
    place: Places,
    lanes: int,
) -> None:
    """The mean of each window over the pixels in the map; ``shares`` is 1 over their number for each position."""
    with code.loop(place.first, place.last) as sample:
        source = x + sample * x_sample
        with code.loop(0, positions) as position, code.loop(0, channels, lanes) as channel:
            total = code.variable(code.zero(lanes))
            with _pixels(code, starts, position, size) as (_, at):
                total.value = total.value + (source + (at + channel)).load(lanes)
            share = (shares + position).spread(lanes)
            (y + ((sample * positions + position) * channels + channel)).store(total.value * share)


@kernel
def average_pool_gradient(
    code: Code,
    dy: Floats,
    dx: Floats,
    starts: Longs,
    shares: Floats,
    positions: Int,
    size: Int,
    channels: Int,
    x_sample: Int,
    *,
    place: Places,
    lanes: int,
    add: bool,
) -> None:
    """Each window's gradient, shared out evenly."""
    with code.loop(place.first, place.last) as sample:
        target = dx + sample * x_sample
        _clear(code, target, x_sample, lanes, add)
        with code.loop(0, positions) as position, code.loop(0, channels, lanes) as channel:
            arriving = (dy + ((sample * positions + position) * channels + channel)).load(lanes)
            share = arriving * (shares + position).spread(lanes)
            with _pixels(code, starts, position, size) as (_, at):
                pixel = target + (at + channel)
                pixel.store(pixel.load(lanes) + share)


@kernel
def dropout(
    code: Code,
    run: Longs,
    x: Floats,
    y: Floats,
    factors: Floats,
    size: Int,
    seed: Int,
    rate: Vector,
    *,
    place: Places,
    lanes: int,
) -> None:
    """``y = x * factor``: 0 with probability ``rate``, else 1 / (1 - rate); ``factors`` keeps them for the gradient.

    The random number of an element is a hash of the seed, the step, the sample's place in the batch and the element, so it
    does not depend on the number of threads.
    """
    step = (run + Run.FIRST_STEP).load() + place[Place.STEP]
    start = Int(code, _hash(code, (step + seed * 0x2545F491).value))
    kept, limit = (1.0 / (1.0 - rate)).spread(lanes), rate.spread(lanes)
    with code.loop(place.first * size, place.last * size, lanes) as i:
        factor = (_uniforms(code, start + i, lanes) < limit).choose(0.0, kept)
        (factors + i).store(factor)
        (y + i).store((x + i).load(lanes) * factor)


def _uniforms(code: Code, first: Int, lanes: int) -> Vector:
    """A random number from 0 to below 1 for each of ``lanes`` whole numbers from ``first`` on."""
    builder = code.builder
    if lanes == 1:
        words, short, kind = first.value, ir.IntType(32), FLOAT
    else:
        words, short, kind = _counted(code, first, lanes), ir.VectorType(ir.IntType(32), lanes), ir.VectorType(FLOAT, lanes)
    bits = builder.lshr(_hash(code, words), _same(words, 40))
    return Vector(code, builder.uitofp(builder.trunc(bits, short), kind)) * (2.0**-24)


def _counted(code: Code, first: Int, lanes: int) -> ir.Value:
    """``first``, ``first + 1`` and so on, as a vector."""
    kind = ir.VectorType(INT, lanes)
    undefined = ir.Constant(kind, ir.Undefined)
    one = code.builder.insert_element(undefined, first.value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return code.builder.add(code.builder.shuffle_vector(one, undefined, zeros), ir.Constant(kind, list(range(lanes))))


def _same(like: ir.Value, number: int) -> ir.Constant:
    """A whole number, in every lane if the value has several."""
    kind = like.type
    return ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number)


def _hash(code: Code, number: ir.Value) -> ir.Value:
    """``splitmix64`` (S. Vigna 2015) of a whole number, or of each of several."""
    builder = code.builder
    number = builder.add(number, _same(number, -0x61C8864680B583EB))
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        number = builder.mul(builder.xor(number, builder.lshr(number, _same(number, shift))), _same(number, factor))
    return builder.xor(number, builder.lshr(number, _same(number, 31)))
