"""Gradients of products with respect to their kernels, and of pooled convolutions with respect to both.

Legend as in ``products.py``. Gradients of convolutions are added up by each thread for its own samples, in a copy of its own
(``thread * gradient_thread`` floats further on); what updates the weights adds the copies and clears them. Those of dense
layers are written by the thread that owns the rows, over all samples of the step.

The gradient of a 2x2 max-pool is zero in three places of four. With at least half a vector of input channels, only the fourth
is visited (``pooled_gradient_scattered``). With fewer, lanes are output channels: each picks its own place of the four
(``pooled_gradient_picked``), or, where that does not fit, the other three are multiplied by zero (``pooled_gradient_masked``).
"""

from __future__ import annotations

from epochwise.engine.code import Code, Place, Places, Variable, kernel, kernel_of_many
from epochwise.engine.kernels.products import DEAD, POOLED
from epochwise.engine.kernels.updates import Rule
from epochwise.engine.simd import Floats, Int, Longs, Vector

PICKED_RUNS, PICKED_NUMBERS = 3, 3
"""The register tile of :func:`pooled_gradient_picked`."""


@kernel
def dense_gradient(
    code: Code,
    x: Floats,
    dy: Floats,
    gradient: Floats,
    x_row: Int,
    outputs: Int,
    rows_of_sample: Int,
    *,
    place: Places,
    lanes: int,
    inputs: int,
    vectors: int,
    add: bool,
) -> None:
    """``gradient[i] = sum over all rows of x[row, i] * dy[row]`` for each input ``i`` of the place, or added to it."""
    first, last, rows = place.first, place.last, place[Place.BATCH] * rows_of_sample
    with code.loop(0, outputs, vectors * lanes) as column, code.loop(first, last, inputs) as number:
        at = [(number + i).min(last - 1) for i in range(inputs)]
        targets = [gradient + (i * outputs + column) for i in at]
        tile = [
            [code.variable((there + v * lanes).load(lanes) if add else code.zero(lanes)) for v in range(vectors)]
            for there in targets
        ]
        with code.loop(0, rows) as row:
            arriving = [(dy + (row * outputs + column + v * lanes)).load(lanes) for v in range(vectors)]
            for accumulators, i in zip(tile, at, strict=True):
                value = (x + (row * x_row + i)).spread(lanes)
                add_products(accumulators, value, arriving)
        for there, accumulators in zip(targets, tile, strict=True):
            for v, accumulator in enumerate(accumulators):
                (there + v * lanes).store(accumulator.value)


@kernel
def dense_update(
    code: Code,
    run: Longs,
    x: Floats,
    dy: Floats,
    weights: Floats,
    first_slot: Floats,
    second_slot: Floats,
    x_row: Int,
    outputs: Int,
    rows_of_sample: Int,
    first_rate: Vector,
    second_rate: Vector,
    epsilon: Vector,
    decay: Vector,
    *,
    place: Places,
    lanes: int,
    inputs: int,
    vectors: int,
    kind: str,
    momentum: bool,
    nesterov: bool,
    decays: bool,
) -> None:
    """The gradient as :func:`dense_gradient` works it out, and the optimizer's step with it; it never goes to memory.

    The inputs of the place are a multiple of ``inputs``: a weight that a tile had twice would move twice.
    """
    rows = place[Place.BATCH] * rows_of_sample
    numbers = (first_rate, second_rate, epsilon, decay)
    rule = Rule(code, run, place, (first_slot, second_slot), numbers, lanes, kind, momentum, nesterov, decays)
    with code.loop(0, outputs, vectors * lanes) as column, code.loop(place.first, place.last, inputs) as number:
        at = [number + i for i in range(inputs)]
        tile = [[code.variable(code.zero(lanes)) for _ in range(vectors)] for _ in at]
        with code.loop(0, rows) as row:
            arriving = [(dy + (row * outputs + column + v * lanes)).load(lanes) for v in range(vectors)]
            for accumulators, i in zip(tile, at, strict=True):
                add_products(accumulators, (x + (row * x_row + i)).spread(lanes), arriving)
        for accumulators, i in zip(tile, at, strict=True):
            for v, accumulator in enumerate(accumulators):
                there = i * outputs + column + v * lanes
                (weights + there).store(rule.moved((weights + there).load(lanes), accumulator.value, there))


def add_products(accumulators: list[Variable[Vector]], value: Vector, arriving: list[Vector]) -> None:
    """To each accumulator one value's product with the number that arrives there."""
    for accumulator, number in zip(accumulators, arriving, strict=True):
        accumulator.value = accumulator.value + value * number


@kernel
def bias_gradient(
    code: Code,
    dy: Floats,
    gradient: Floats,
    outputs: Int,
    positions_in_all: Int,
    gradient_thread: Int,
    *,
    place: Places,
    lanes: int,
) -> None:
    """``gradient += sum over samples of the place and positions of dy``, in the thread's own copy."""
    own = gradient + place[Place.THREAD] * gradient_thread
    with code.loop(0, outputs, lanes) as column:
        total = code.variable((own + column).load(lanes))
        with code.loop(place.first * positions_in_all, place.last * positions_in_all) as position:
            total.value = total.value + (dy + (position * outputs + column)).load(lanes)
        (own + column).store(total.value)


@kernel
def convolution_gradient(
    code: Code,
    x: Floats,
    dy: Floats,
    gradient: Floats,
    starts: Longs,
    positions_in_all: Int,
    inputs: Longs,
    inputs_in_all: Int,
    x_sample: Int,
    dy_sample: Int,
    dy_position: Int,
    outputs: Int,
    gradient_thread: Int,
    *,
    place: Places,
    lanes: int,
    rows: int,
    vectors: int,
) -> None:
    """``gradient[k] += sum over samples of the place and positions of x[window, k] * dy[position]``.

    ``inputs`` says where the number ``k`` of a window lies, from the window's first number on.
    """
    own = gradient + place[Place.THREAD] * gradient_thread
    with code.loop(place.first, place.last) as sample:
        source, arriving_at = x + sample * x_sample, dy + sample * dy_sample
        with code.loop(0, outputs, vectors * lanes) as column, code.loop(0, inputs_in_all, rows) as number:
            at = [(number + r).min(inputs_in_all - 1) for r in range(rows)]
            offsets = [(inputs + k).load() for k in at]
            tile = [[code.variable((own + (k * outputs + column + v * lanes)).load(lanes)) for v in range(vectors)] for k in at]
            with code.loop(0, positions_in_all) as position:
                window = source + (starts + position).load()
                arriving = [(arriving_at + (position * dy_position + column + v * lanes)).load(lanes) for v in range(vectors)]
                for accumulators, offset in zip(tile, offsets, strict=True):
                    add_products(accumulators, (window + offset).spread(lanes), arriving)
            for k, accumulators in zip(at, tile, strict=True):
                for v, accumulator in enumerate(accumulators):
                    (own + (k * outputs + column + v * lanes)).store(accumulator.value)


@kernel_of_many
def point_gradient(
    code: Code,
    x: Floats,
    dy: Floats,
    gradient: Floats,
    inputs_in_all: Int,
    outputs: Int,
    x_sample: Int,
    dy_sample: Int,
    gradient_thread: Int,
    *,
    place: Places,
    lanes: int,
    rows: int,
    vectors: int,
) -> None:
    """``gradient[k] += sum over samples of the place of x[k] * dy``: :func:`convolution_gradient` where maps are one point.

    Then it is the samples over which sums stay in registers.
    """
    own = gradient + place[Place.THREAD] * gradient_thread
    with code.loop(0, outputs, vectors * lanes) as column, code.loop(0, inputs_in_all, rows) as number:
        at = [(number + r).min(inputs_in_all - 1) for r in range(rows)]
        targets = [own + (k * outputs + column) for k in at]
        tile = [[code.variable((there + v * lanes).load(lanes)) for v in range(vectors)] for there in targets]
        with code.loop(place.first, place.last) as sample:
            arriving = [(dy + (sample * dy_sample + column + v * lanes)).load(lanes) for v in range(vectors)]
            for accumulators, k in zip(tile, at, strict=True):
                add_products(accumulators, (x + (sample * x_sample + k)).spread(lanes), arriving)
        for there, accumulators in zip(targets, tile, strict=True):
            for v, accumulator in enumerate(accumulators):
                (there + v * lanes).store(accumulator.value)


@kernel
def pooled_gradient_masked(
    code: Code,
    x: Floats,
    dy: Floats,
    winners: Floats,
    gradient: Floats,
    bias_gradient: Floats,
    starts: Longs,
    windows_in_all: Int,
    inputs: Longs,
    inputs_in_all: Int,
    x_sample: Int,
    dy_sample: Int,
    outputs: Int,
    gradient_thread: Int,
    bias_thread: Int,
    *,
    place: Places,
    lanes: int,
    rows: int,
) -> None:
    """Gradients of kernel and bias of a pooled convolution with few input channels; lanes are output channels."""
    thread = place[Place.THREAD]
    own, own_bias = gradient + thread * gradient_thread, bias_gradient + thread * bias_thread
    with code.loop(place.first, place.last) as sample:
        source, arriving_at, winner_at = x + sample * x_sample, dy + sample * dy_sample, winners + sample * dy_sample
        with code.loop(0, outputs, lanes) as column:
            with code.loop(0, inputs_in_all, rows) as number:
                at = [(number + r).min(inputs_in_all - 1) for r in range(rows)]
                offsets = [(inputs + k).load() for k in at]
                tile = [code.variable((own + (k * outputs + column)).load(lanes)) for k in at]
                with code.loop(0, windows_in_all) as window:
                    arriving = (arriving_at + (window * outputs + column)).load(lanes)
                    winner = (winner_at + (window * outputs + column)).load(lanes)
                    for p in range(POOLED):
                        live = winner.equals(float(p)).choose(arriving, 0.0)
                        at_position = source + (starts + (window * POOLED + p)).load()
                        for accumulator, offset in zip(tile, offsets, strict=True):
                            accumulator.value = accumulator.value + (at_position + offset).spread(lanes) * live
                for k, accumulator in zip(at, tile, strict=True):
                    (own + (k * outputs + column)).store(accumulator.value)
            total = code.variable((own_bias + column).load(lanes))
            with code.loop(0, windows_in_all) as window:
                winner = (winner_at + (window * outputs + column)).load(lanes)
                arriving = (arriving_at + (window * outputs + column)).load(lanes)
                total.value = total.value + (winner < DEAD).choose(arriving, 0.0)
            (own_bias + column).store(total.value)


@kernel
def pooled_gradient_picked(
    code: Code,
    x: Floats,
    dy: Floats,
    winners: Floats,
    gradient: Floats,
    bias_gradient: Floats,
    starts: Longs,
    windows_in_all: Int,
    runs: Longs,
    runs_in_all: Int,
    run: Int,
    across: Int,
    down: Int,
    x_sample: Int,
    dy_sample: Int,
    outputs: Int,
    gradient_thread: Int,
    bias_thread: Int,
    *,
    place: Places,
    lanes: int,
    reach: int,
) -> None:
    """The same as :func:`pooled_gradient_masked` with a quarter of the products; lanes are output channels.

    What a lane needs for a number of a run is that number at the position that won in its channel. The runs of the two upper
    positions and of the two lower ones are put into one vector, out of which each lane picks its number.

    Args:
        across, down: from one position of a pooled window to the next, in floats.
        reach: floats that are read of a run at once: at least ``across`` and the numbers of a tile, at most half the lanes.
    """
    thread = place[Place.THREAD]
    own, own_bias = gradient + thread * gradient_thread, bias_gradient + thread * bias_thread
    with code.loop(place.first, place.last) as sample:
        source, arriving_at, winner_at = x + sample * x_sample, dy + sample * dy_sample, winners + sample * dy_sample
        for_all = code.loop(0, outputs, lanes), code.loop(0, runs_in_all, PICKED_RUNS), code.loop(0, run, PICKED_NUMBERS)
        with for_all[0] as column, for_all[1] as first_run, for_all[2] as first:
            at_run = [(first_run + r).min(runs_in_all - 1) for r in range(PICKED_RUNS)]
            at = [(first + i).min(run - 1) for i in range(PICKED_NUMBERS)]
            begins = [(runs + r).load() + first for r in at_run]
            targets = [[own + ((r * run + i) * outputs + column) for i in at] for r in at_run]
            tile = [[code.variable(there.load(lanes)) for there in row] for row in targets]
            total = code.variable((own_bias + column).load(lanes))
            with code.loop(0, windows_in_all) as window:
                winner = (winner_at + (window * outputs + column)).load(lanes)
                live = (winner < DEAD).choose((arriving_at + (window * outputs + column)).load(lanes), 0.0)
                total.value = total.value + live
                number = winner.as_indices()
                picked = (number & 1) * across + (number & 2) * (reach // 2)
                indices = [picked + (i - first) for i in at]
                at_window = source + (starts + window * POOLED).load()
                for row, begin in zip(tile, begins, strict=True):
                    upper, lower = ((at_window + there).load(reach) for there in (begin, begin + down))
                    four = upper.followed_by(lower, lanes)
                    for accumulator, index in zip(row, indices, strict=True):
                        accumulator.value = accumulator.value + four.picked(index) * live
            for row, there in zip(tile, targets, strict=True):
                for accumulator, one in zip(row, there, strict=True):
                    one.store(accumulator.value)
            with code.when(first_run.equals(0) & first.equals(0)):
                (own_bias + column).store(total.value)


@kernel
def pooled_gradient_scattered(
    code: Code,
    x: Floats,
    dx: Floats,
    weights: Floats,
    dy: Floats,
    winners: Floats,
    gradient: Floats,
    bias_gradient: Floats,
    starts: Longs,
    windows_in_all: Int,
    taps: Longs,
    taps_in_all: Int,
    channels: Int,
    filters: Int,
    x_sample: Int,
    dy_sample: Int,
    outputs: Int,
    gradient_thread: Int,
    bias_thread: Int,
    live: Longs,
    live_gradients: Floats,
    live_thread: Int,
    *,
    place: Places,
    lanes: int,
    tile: int,
    into_input: bool,
) -> None:
    """Gradients of kernel, bias and input of a pooled convolution; lanes are input channels.

    Args:
        dx: gradient of ``x``, added to.
        weights: turned: ``(filters, taps, channels)``, as ``gradient`` is.
        taps: where each tap's channels lie, from the window's first number on; ``tile`` divides their number.
        channels: of the input, padded.
        filters: output channels, without padding.
        live, live_gradients: room for ``windows_in_all`` numbers for each thread: where the winners lie, and their gradients.
    """
    thread = place[Place.THREAD]
    own, own_bias = gradient + thread * gradient_thread, bias_gradient + thread * bias_thread
    places, numbers = live + thread * live_thread, live_gradients + thread * live_thread
    with code.loop(place.first, place.last) as sample:
        source, target = x + sample * x_sample, dx + sample * x_sample
        with code.loop(0, filters) as m:
            at_map = dy + sample * dy_sample, winners + sample * dy_sample
            found, total = _collect(code, m, *at_map, outputs, windows_in_all, starts, places, numbers)
            (own_bias + m).store((own_bias + m).load() + total)
            with code.loop(0, channels, lanes) as channel, code.loop(0, taps_in_all, tile) as tap:
                offsets = [(taps + (tap + t)).load() + channel for t in range(tile)]
                at = [(m * taps_in_all + tap + t) * channels + channel for t in range(tile)]
                sums = [code.variable((own + k).load(lanes)) for k in at]
                kernels = [(weights + k).load(lanes) for k in at] if into_input else []
                with code.loop(0, found) as number:
                    arriving = (numbers + number).spread(lanes)
                    begin = (places + number).load()
                    for t in range(tile):
                        sums[t].value = sums[t].value + arriving * (source + (begin + offsets[t])).load(lanes)
                        if into_input:
                            there = target + (begin + offsets[t])
                            there.store(there.load(lanes) + arriving * kernels[t])
                for k, total_of_tap in zip(at, sums, strict=True):
                    (own + k).store(total_of_tap.value)


def _collect(
    code: Code,
    m: Int,
    dy: Floats,
    winners: Floats,
    outputs: Int,
    windows_in_all: Int,
    starts: Longs,
    places: Longs,
    numbers: Floats,
) -> tuple[Int, Vector]:
    """List the windows in which filter ``m`` has a winner: how many there are, and the sum of their gradients.

    Each window is written, and the place moves on only if it counts: there is no branch that could be guessed wrong.
    """
    found, total = code.variable(code.whole(0)), code.variable(code.constant(0.0))
    with code.loop(0, windows_in_all) as window:
        at = window * outputs + m
        winner, arriving = (winners + at).load(), (dy + at).load()
        lives = winner < DEAD
        place_in_list = found.value
        (places + place_in_list).store((starts + (window * POOLED + winner.as_int())).load())
        (numbers + place_in_list).store(arriving)
        total.value = total.value + lives.choose(arriving, 0.0)
        found.value = place_in_list + lives.as_int()
    return found.value, total.value


@kernel
def convolution_input_gradient(
    code: Code,
    dx: Floats,
    weights: Floats,
    dy: Floats,
    starts: Longs,
    positions_in_all: Int,
    taps: Longs,
    taps_in_all: Int,
    channels: Int,
    filters: Int,
    x_sample: Int,
    dy_sample: Int,
    dy_position: Int,
    *,
    place: Places,
    lanes: int,
    tile: int,
    alone: bool,
) -> None:
    """Add to ``dx`` what each position gives to its window.

    Lanes are input channels; ``weights`` lie as ``(filters, taps, channels)``. With ``alone``, channels fill one vector: then
    the weights of a tile are a fixed distance apart, which spares a register for each.
    """
    apart = lanes if alone else channels
    with code.loop(place.first, place.last) as sample, code.loop(0, positions_in_all) as position:
        arriving = dy + (sample * dy_sample + position * dy_position)
        window = dx + (sample * x_sample + (starts + position).load())
        with code.loop(0, channels, lanes) as channel, code.loop(0, taps_in_all, tile) as tap:
            places = [window + ((taps + (tap + t)).load() + channel) for t in range(tile)]
            sums = [code.variable(there.load(lanes)) for there in places]
            with code.loop(0, filters) as m:
                number = (arriving + m).spread(lanes)
                at = weights + ((m * taps_in_all + tap) * channels + channel)
                for t, total in enumerate(sums):
                    total.value = total.value + number * (at + apart * t).load(lanes)
            for there, total in zip(places, sums, strict=True):
                there.store(total.value)
