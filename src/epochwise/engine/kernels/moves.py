"""What only moves numbers: samples out of the data, zeros around maps, and weights in another order."""

from __future__ import annotations

from llvmlite import ir

from epochwise.engine.code import Code, Place, Places, Run, kernel
from epochwise.engine.simd import Bytes, Floats, Int, Longs, Vector

_LINE = 64
"""Bytes of a cache line."""


@kernel
def take(
    code: Code,
    run: Longs,
    x: Floats,
    size: Int,
    scale: Vector,
    offset: Vector,
    *,
    place: Places,
    lanes: int,
    bytes_in: bool,
    rescale: bool,
) -> None:
    """Copy the samples of the place out of the data, in the order of this run, as float32, ``size`` numbers each.

    With ``rescale``: each times ``scale`` plus ``offset``. The sample after each is fetched into the cache meanwhile: it lies
    anywhere, and by the time it is needed the network has worked on this one.
    """
    factors = (scale, offset) if rescale else None
    with code.loop(place.first, place.last) as sample:
        following = (sample + 1).min(place[Place.BATCH] - 1)
        source = _sample(code, run, following, size, place, bytes_in)
        numbers_of_line = _LINE if bytes_in else _LINE // 4
        with code.loop(0, size, numbers_of_line) as i:
            _prefetch(code, source + i)
        _take(code, run, x, size, sample, (code.whole(0), size), factors, place, lanes, bytes_in)


@kernel
def take_columns(
    code: Code,
    run: Longs,
    x: Floats,
    size: Int,
    scale: Vector,
    offset: Vector,
    *,
    place: Places,
    lanes: int,
    bytes_in: bool,
    rescale: bool,
) -> None:
    """The same for all samples of the step, and for the numbers ``first`` to ``last`` of the place of each of them."""
    factors = (scale, offset) if rescale else None
    with code.loop(0, place[Place.BATCH]) as sample:
        _take(code, run, x, size, sample, (place.first, place.last), factors, place, lanes, bytes_in)


def _take(
    code: Code,
    run: Longs,
    x: Floats,
    size: Int,
    sample: Int,
    numbers: tuple[Int, Int],
    factors: tuple[Vector, Vector] | None,
    place: Places,
    lanes: int,
    bytes_in: bool,
) -> None:
    """Some of the numbers of one sample of the step."""
    source, target = _sample(code, run, sample, size, place, bytes_in), x + sample * size
    begin, end = numbers
    whole = end - (end - begin) % lanes
    for first, last, many in ((begin, whole, lanes), (whole, end, 1)):
        with code.loop(first, last, many) as i:
            number = (source + i).load(many)
            if factors is not None:
                number = number * factors[0].spread(many) + factors[1].spread(many)
            (target + i).store(number)


def _sample(code: Code, run: Longs, sample: Int, size: Int, place: Places, bytes_in: bool) -> Bytes | Floats:
    """Where one sample of the step lies in the data."""
    at = (run + Run.SAMPLES).load()
    data = code.pointer(at, Bytes) if bytes_in else code.pointer(at, Floats)
    order = code.pointer((run + Run.ORDER).load(), Longs) + place[Place.START]
    return data + (order + sample).load() * size


def _prefetch(code: Code, at: Bytes | Floats) -> None:
    """Begin to bring what lies here into the cache; nothing waits for it."""
    module, word = code.builder.module, ir.IntType(32)
    name = "llvm.prefetch.p0"
    kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(), word, word, word])
    function = module.globals.get(name) or ir.Function(module, kind, name)
    to_read, to_keep, of_data = 0, 2, 1
    code.builder.call(function, [at.value, *(ir.Constant(word, option) for option in (to_read, to_keep, of_data))])


@kernel
def join(
    code: Code,
    x: Floats,
    y: Floats,
    blocks: Int,
    numbers: Int,
    x_block: Int,
    y_block: Int,
    *,
    place: Places,
    lanes: int,
    add: bool,
) -> None:
    """The first ``numbers`` of each block of ``x`` -> blocks of ``y``, which lie closer together or further apart."""
    with code.loop(place.first * blocks, place.last * blocks) as block:
        source, target = x + block * x_block, y + block * y_block
        whole = numbers - numbers % lanes
        for first, last, many in ((code.whole(0), whole, lanes), (whole, numbers, 1)):
            with code.loop(first, last, many) as i:
                number = (source + i).load(many)
                (target + i).store((target + i).load(many) + number if add else number)


@kernel
def look_up(
    code: Code, x: Floats, table: Floats, y: Floats, places_of_sample: Int, channels: Int, *, place: Places, lanes: int
) -> None:
    """``y[i] = table[x[i]]``: rows of ``channels`` floats."""
    with code.loop(place.first * places_of_sample, place.last * places_of_sample) as i:
        row = table + (x + i).load().as_int() * channels
        with code.loop(0, channels, lanes) as channel:
            (y + (i * channels + channel)).store((row + channel).load(lanes))


@kernel
def look_up_gradient(
    code: Code,
    x: Floats,
    dy: Floats,
    gradient: Floats,
    places_of_sample: Int,
    channels: Int,
    gradient_thread: Int,
    *,
    place: Places,
    lanes: int,
) -> None:
    """``gradient[x[i]] += dy[i]``, in the thread's own copy."""
    own = gradient + place[Place.THREAD] * gradient_thread
    with code.loop(place.first * places_of_sample, place.last * places_of_sample) as i:
        row = own + (x + i).load().as_int() * channels
        with code.loop(0, channels, lanes) as channel:
            number = (dy + (i * channels + channel)).load(lanes)
            (row + channel).store((row + channel).load(lanes) + number)


@kernel
def border(
    code: Code,
    x: Floats,
    y: Floats,
    rows: Int,
    row: Int,
    above: Int,
    left: Int,
    y_rows: Int,
    y_row: Int,
    *,
    place: Places,
    lanes: int,
) -> None:
    """Copy each map of the place into the middle of a larger one, whose border stays as it is (zero).

    Args (in floats): ``row`` numbers in each of ``rows`` rows; ``left`` and ``y_row`` likewise.
    """
    with code.loop(place.first, place.last) as sample:
        source, target = x + sample * rows * row, y + sample * y_rows * y_row
        whole = row - row % lanes
        with code.loop(0, rows) as r:
            line_in, line_out = source + r * row, target + ((r + above) * y_row + left)
            with code.loop(0, whole, lanes) as i:
                (line_out + i).store((line_in + i).load(lanes))
            with code.loop(whole, row) as i:
                (line_out + i).store((line_in + i).load())


@kernel
def unborder(
    code: Code,
    dy: Floats,
    dx: Floats,
    rows: Int,
    row: Int,
    above: Int,
    left: Int,
    y_rows: Int,
    y_row: Int,
    *,
    place: Places,
    lanes: int,
    add: bool,
) -> None:
    """The gradient of :func:`border`: the middle of each larger map, copied back or added."""
    with code.loop(place.first, place.last) as sample:
        source, target = dy + sample * y_rows * y_row, dx + sample * rows * row
        whole = row - row % lanes
        with code.loop(0, rows) as r:
            line_in, line_out = source + ((r + above) * y_row + left), target + r * row
            with code.loop(0, whole, lanes) as i:
                number = (line_in + i).load(lanes)
                (line_out + i).store((line_out + i).load(lanes) + number if add else number)
            with code.loop(whole, row) as i:
                one = (line_in + i).load()
                (line_out + i).store((line_out + i).load() + one if add else one)


@kernel
def turn(code: Code, source: Floats, target: Floats, rows: Int, columns: Int, *, place: Places, block: int) -> None:
    """``target[column, row] = source[row, column]`` for the rows of the place, in squares of ``block`` x ``block``."""
    with code.loop(place.first, place.last, block) as row, code.loop(0, columns, block) as column:
        square = [(source + ((row + i) * columns + column)).load(block) for i in range(block)]
        for i, line in enumerate(transposed(square)):
            (target + ((column + i) * rows + row)).store(line)


def transposed(square: list[Vector]) -> list[Vector]:
    """As many vectors as they have lanes, with rows and columns exchanged: halves of pairs are exchanged, then quarters, ..."""
    count = len(square)
    half = count // 2
    while half:
        exchanged = list(square)
        for low in range(count):
            if low & half == 0:
                one, other = square[low], square[low + half]
                first = [lane if lane & half == 0 else lane - half + count for lane in range(count)]
                second = [lane + half if lane & half == 0 else lane + count for lane in range(count)]
                exchanged[low], exchanged[low + half] = one.mixed(other, first), one.mixed(other, second)
        square, half = exchanged, half // 2
    return square


@kernel
def scatter(code: Code, source: Floats, target: Floats, table: Longs, *, place: Places) -> None:
    """``target[table[i]] = source[i]`` for the numbers of the place: a weight in another order."""
    with code.loop(place.first, place.last) as i:
        (target + (table + i).load()).store((source + i).load())
