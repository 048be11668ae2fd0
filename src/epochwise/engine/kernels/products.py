"""Products: dense layers and convolutions.

Legend: ``K`` inputs of one output (taps x channels), ``M`` output channels, padded to whole vectors; a *position* is one output
pixel of a convolution, or one row of a dense layer.

A convolution is the product of a matrix that is never made (one row of ``K`` numbers for each position) with the kernel
``(K, M)``. A table of where each position's first number lies, and a table of where the others lie from there on, describe any
size, stride, dilation and group. (As in the "indirect convolution" of Dukhan 2019, arXiv 1907.02129.) The numbers of a row of a
dense layer lie side by side.

Register tile: ``positions`` x ``vectors`` accumulators. One number of the input is spread over the lanes, which are output
channels. Positions that a last tile lacks are taken as the last position once more, which gives the same result twice.
"""

from __future__ import annotations

from epochwise.engine.code import Code, Place, Places, Variable, kernel, kernel_of_many
from epochwise.engine.simd import Floats, Int, Longs, Vector

POOLED = 4
"""Positions of a 2x2 window, in the order in which the table of positions has them: row by row."""

DEAD = 4.0
"""Stands for "no position of the window" where relu leaves nothing."""


def accumulate(
    code: Code,
    tile: list[list[Variable[Vector]]],
    sources: list[Floats],
    weights: Floats,
    numbers: Int,
    row: Int,
    lanes: int,
    inputs: Longs | None = None,
) -> None:
    """``tile[p][v] += sum over i of sources[p][i] * weights[i, v]``; with ``inputs``, number ``i`` is at ``inputs[i]``."""
    with code.loop(0, numbers) as i:
        at = i if inputs is None else (inputs + i).load()
        spread = [(source + at).spread(lanes) for source in sources]
        for v in range(len(tile[0])):
            weight = (weights + (i * row + v * lanes)).load(lanes)
            for p, number in enumerate(spread):
                tile[p][v].value = tile[p][v].value + number * weight


def bias_of(code: Code, bias: Floats, column: Int, vectors: int, lanes: int) -> list[Vector]:
    """What the accumulators of a tile begin with, from a column on."""
    return [(bias + (column + v * lanes)).load(lanes) for v in range(vectors)]


@kernel_of_many
def dense(
    code: Code,
    x: Floats,
    weights: Floats,
    bias: Floats,
    y: Floats,
    inputs: Int,
    outputs: Int,
    x_row: Int,
    y_row: Int,
    rows_of_sample: Int,
    *,
    place: Places,
    lanes: int,
    rows: int,
    vectors: int,
    relu: bool,
    add: bool,
) -> None:
    """``y[row] = x[row] W + bias`` for each row of the place, or added to ``y``.

    ``outputs`` are padded. Rows of ``x`` and ``y`` lie ``x_row`` and ``y_row`` floats apart.
    """
    first, last = place.first * rows_of_sample, place.last * rows_of_sample
    with code.loop(0, outputs, vectors * lanes) as column, code.loop(first, last, rows) as row:
        at = [(row + r).min(last - 1) for r in range(rows)]
        start = bias_of(code, bias, column, vectors, lanes)
        targets = [y + (number * y_row + column) for number in at]
        tile = [_started(code, start, target, add) for target in targets]
        accumulate(code, tile, [x + number * x_row for number in at], weights + column, inputs, outputs, lanes)
        for target, accumulators in zip(targets, tile, strict=True):
            store(target, accumulators, relu)


@kernel
def dense_shares(
    code: Code,
    x: Floats,
    weights: Floats,
    shares: Floats,
    inputs: Int,
    outputs: Int,
    share: Int,
    *,
    place: Places,
    lanes: int,
    rows: int,
    vectors: int,
) -> None:
    """What the inputs of the place give to each row of the step: ``shares[thread, row] = x[row, place] W[place]``.

    ``share`` floats are one thread's.
    """
    first, count, last = place.first, place.last - place.first, place[Place.BATCH]
    own, own_weights = shares + place[Place.THREAD] * share, weights + first * outputs
    with code.loop(0, outputs, vectors * lanes) as column, code.loop(0, last, rows) as row:
        at = [(row + r).min(last - 1) for r in range(rows)]
        tile = [[code.variable(code.zero(lanes)) for _ in range(vectors)] for _ in at]
        sources = [x + (number * inputs + first) for number in at]
        accumulate(code, tile, sources, own_weights + column, count, outputs, lanes)
        for number, accumulators in zip(at, tile, strict=True):
            store(own + (number * outputs + column), accumulators, relu=False)


@kernel_of_many
def join_shares(
    code: Code,
    shares: Floats,
    bias: Floats,
    y: Floats,
    outputs: Int,
    share: Int,
    *,
    place: Places,
    lanes: int,
    relu: bool,
) -> None:
    """``y[row] = sum over threads of shares[thread, row] + bias`` for each row of the place, in the order of the threads."""
    with code.loop(place.first, place.last) as row, code.loop(0, outputs, lanes) as column:
        total = code.variable((bias + column).load(lanes))
        at = row * outputs + column
        with code.loop(0, place[Place.THREADS]) as thread:
            total.value = total.value + (shares + (thread * share + at)).load(lanes)
        store(y + at, [total], relu)


@kernel
def dense_columns(
    code: Code,
    x: Floats,
    weights: Floats,
    y: Floats,
    inputs: Int,
    outputs: Int,
    *,
    place: Places,
    lanes: int,
    rows: int,
    add: bool,
) -> None:
    """``y[row] = x[row] W`` for each row of the step and the outputs of the place, or added to ``y``."""
    last = place[Place.BATCH]
    with code.loop(place.first, place.last, lanes) as column, code.loop(0, last, rows) as row:
        at = [(row + r).min(last - 1) for r in range(rows)]
        targets = [y + (number * outputs + column) for number in at]
        tile = [_started(code, [code.zero(lanes)], target, add) for target in targets]
        accumulate(code, tile, [x + number * inputs for number in at], weights + column, inputs, outputs, lanes)
        for target, accumulators in zip(targets, tile, strict=True):
            store(target, accumulators, relu=False)


def _started(code: Code, start: list[Vector], target: Floats, add: bool) -> list[Variable[Vector]]:
    """Accumulators that begin with the bias, and with what is in ``target`` already where the result is added to it.

    It is read before anything is written, so a position that a tile has twice is right nevertheless.
    """
    lanes = start[0].lanes
    numbers = [number + (target + v * lanes).load(lanes) if add else number for v, number in enumerate(start)]
    return [code.variable(number) for number in numbers]


def store(target: Floats, accumulators: list[Variable[Vector]], relu: bool) -> None:
    """Store results; relu leaves NaN as it is."""
    for v, accumulator in enumerate(accumulators):
        number = accumulator.value
        (target + v * number.lanes).store((number < 0.0).choose(0.0, number) if relu else number)


@kernel
def convolution(
    code: Code,
    x: Floats,
    weights: Floats,
    bias: Floats,
    y: Floats,
    starts: Longs,
    positions_in_all: Int,
    inputs: Longs,
    inputs_in_all: Int,
    x_sample: Int,
    y_sample: Int,
    y_position: Int,
    outputs: Int,
    *,
    place: Places,
    lanes: int,
    positions: int,
    vectors: int,
    relu: bool,
    add: bool,
) -> None:
    """A convolution of each sample of the place, written to ``y`` or added to it.

    Args (all lengths in floats):
        starts: where each position's window begins, from the sample's first number on.
        inputs: where each number of a window lies, from the window's first number on.
        y_position: from one position of ``y`` to the next.
        outputs: output channels of ``weights``, padded.
    """
    with code.loop(place.first, place.last) as sample:
        source, target = x + sample * x_sample, y + sample * y_sample
        with code.loop(0, outputs, vectors * lanes) as column:
            start = bias_of(code, bias, column, vectors, lanes)
            with code.loop(0, positions_in_all, positions) as position:
                at = [(position + p).min(positions_in_all - 1) for p in range(positions)]
                targets = [target + (p * y_position + column) for p in at]
                tile = [_started(code, start, there, add) for there in targets]
                windows = [source + (starts + p).load() for p in at]
                accumulate(code, tile, windows, weights + column, inputs_in_all, outputs, lanes, inputs)
                for there, accumulators in zip(targets, tile, strict=True):
                    store(there, accumulators, relu)


@kernel
def pooled_convolution(
    code: Code,
    x: Floats,
    weights: Floats,
    bias: Floats,
    y: Floats,
    winners: Floats,
    starts: Longs,
    windows_in_all: Int,
    inputs: Longs,
    inputs_in_all: Int,
    x_sample: Int,
    y_sample: Int,
    outputs: Int,
    *,
    place: Places,
    lanes: int,
    windows: int,
    vectors: int,
    relu: bool,
) -> None:
    """Convolution, bias, relu and 2x2 max-pooling in one, for each sample of the place.

    ``starts`` has the four positions of each window one after another. ``winners`` gets which of them was the largest (the
    first of equal ones), or ``DEAD`` where relu made it zero. Both results have the shape of the pooled map.
    """
    with code.loop(place.first, place.last) as sample:
        source, target, winner = x + sample * x_sample, y + sample * y_sample, winners + sample * y_sample
        with code.loop(0, outputs, vectors * lanes) as column:
            start = bias_of(code, bias, column, vectors, lanes)
            with code.loop(0, windows_in_all, windows) as window:
                at = [(window + w).min(windows_in_all - 1) for w in range(windows)]
                sources = [source + (starts + (w * POOLED + p)).load() for w in at for p in range(POOLED)]
                tile = [[code.variable(number) for number in start] for _ in sources]
                accumulate(code, tile, sources, weights + column, inputs_in_all, outputs, lanes, inputs)
                for number, w in enumerate(at):
                    for v in range(vectors):
                        four = [tile[number * POOLED + p][v].value for p in range(POOLED)]
                        largest, which = _largest(code, four, relu, lanes)
                        place_in_map = w * outputs + column + v * lanes
                        (target + place_in_map).store(largest)
                        (winner + place_in_map).store(which)


def _largest(code: Code, four: list[Vector], relu: bool, lanes: int) -> tuple[Vector, Vector]:
    """The largest of a window and its number; NaN wins."""
    largest, which = four[0], code.zero(lanes)
    for number, candidate in enumerate(four[1:], start=1):
        larger = candidate.above_or_nan(largest)
        largest, which = larger.choose(candidate, largest), larger.choose(float(number), which)
    if relu:
        dead = largest <= 0.0
        largest, which = dead.choose(0.0, largest), dead.choose(DEAD, which)
    return largest, which
