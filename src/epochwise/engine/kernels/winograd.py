"""3x3 convolutions of stride 1 by Winograd's algorithm F(2x2, 3x3): 16 multiplications for 4 outputs instead of 36.

An output tile ``y`` of 2x2 positions depends on a patch ``d`` of 4x4 pixels: ``y = A' [(G g G') * (B' d B)] A`` for one channel
in and one out, with ``*`` element by element (Lavin and Gray 2015, arXiv 1509.09308). Summed over channels, each of the 16
elements is a matrix product of its own. The same for gradients: that of the input is a convolution with the mirrored kernel,
and that of the kernel is ``G' [sum of (A dy A') * (B' d B)] G``, summed over tiles and samples before ``G`` is applied.

``A`` and ``B`` hold 0 and +-1, ``G`` also 1/2, so that float32 loses hardly more than in the sum as it is written. But a result
that is a sum of zeros comes out as the rounding of its neighbours. So this is not used where a threshold follows at once.

Legend: ``C`` channels in, ``K`` channels out, padded to whole vectors; ``T`` tiles that are handled together. Patches and
products of ``T`` tiles lie in a thread's own memory as ``(16, T, C)`` and ``(16, T, K)``, with ``GAP`` floats more after each
``T``: else a page would be between them, and they would drive each other out of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from epochwise.engine.code import Code, Place, Places, kernel
from epochwise.engine.kernels.gradients import add_products
from epochwise.engine.kernels.products import accumulate, bias_of, store
from epochwise.engine.simd import Floats, Int, Longs, Vector

PATCH, TILE, TAPS = 4, 2, 3
"""Pixels, positions and taps along one axis."""

ELEMENTS = PATCH * PATCH
GAP = 16

Square = list[list[Vector]]
"""Rows of vectors."""


def _patch(column: Sequence[Vector]) -> list[Vector]:
    """``B' d``."""
    a, b, c, d = column
    return [a - c, b + c, c - b, b - d]


def _products(column: Sequence[Vector]) -> list[Vector]:
    """``A' m``."""
    a, b, c, d = column
    return [a + b + c, b - c - d]


def _spread(column: Sequence[Vector]) -> list[Vector]:
    """``A dy``."""
    a, b = column
    return [a, a + b, a - b, -b]


def _taps(column: Sequence[Vector]) -> list[Vector]:
    """``G g``."""
    a, b, c = column
    half = (a + c) * 0.5
    middle = b * 0.5
    return [a, half + middle, half - middle, c]


def _taps_back(column: Sequence[Vector]) -> list[Vector]:
    """``G' u``."""
    a, b, c, d = column
    half = (b + c) * 0.5
    return [a + half, (b - c) * 0.5, half + d]


def _both_ways(along: Callable[[Sequence[Vector]], list[Vector]], square: Square) -> Square:
    """The same along columns and then along rows."""
    columns = [along(column) for column in zip(*square, strict=True)]
    return [along(row) for row in zip(*columns, strict=True)]


def _loaded(at: Floats, line: Int, pixel: Int, size: int, lanes: int) -> Square:
    """``size`` x ``size`` pixels of a map."""
    return [[(at + (line * i + pixel * j)).load(lanes) for j in range(size)] for i in range(size)]


def _put(target: Floats, square: Square, apart: Int) -> None:
    """All numbers of a square, ``apart`` floats from one to the next."""
    for number, vector in enumerate(vector for row in square for vector in row):
        (target + apart * number).store(vector)


@kernel
def winograd_kernel(
    code: Code, weights: Floats, transformed: Floats, inputs: Int, outputs: Int, *, place: Places, lanes: int
) -> None:
    """``G g G'`` of a kernel ``(3, 3, inputs, outputs)``, as ``(16, inputs, outputs)``, for the inputs of the place."""
    apart = inputs * outputs
    with code.loop(place.first, place.last) as number, code.loop(0, outputs, lanes) as column:
        at = number * outputs + column
        _put(transformed + at, _both_ways(_taps, _loaded(weights + at, apart * TAPS, apart, TAPS, lanes)), apart)


@kernel
def winograd_convolution(
    code: Code,
    x: Floats,
    weights: Floats,
    bias: Floats,
    y: Floats,
    patches: Floats,
    products: Floats,
    x_starts: Longs,
    y_starts: Longs,
    tiles_in_all: Int,
    together: Int,
    inputs: Int,
    x_sample: Int,
    x_line: Int,
    x_pixel: Int,
    y_sample: Int,
    y_line: Int,
    y_pixel: Int,
    *,
    place: Places,
    lanes: int,
    positions: int,
    vectors: int,
    add: bool,
) -> None:
    """A convolution of each sample of the place, written to ``y`` or added to it.

    Args (all lengths in floats):
        weights: transformed.
        patches, products: of ``together`` tiles, for each thread.
        x_starts, y_starts: where each tile's patch begins in a sample of ``x``, and where the tile does in one of ``y``.
        inputs: channels of ``x``, without padding.
    """
    thread = place[Place.THREAD]
    patch_apart, own_patches = _own(patches, thread, together * x_pixel)
    product_apart, own_products = _own(products, thread, together * y_pixel)
    for_all = code.loop(place.first, place.last), code.loop(0, tiles_in_all, together)
    with for_all[0] as sample, for_all[1] as first:
        source, target = x + sample * x_sample, y + sample * y_sample
        tiles = (tiles_in_all - first).min(together)
        _take_patches(code, source, x_starts + first, own_patches, tiles, x_line, x_pixel, patch_apart, lanes)
        with code.loop(0, ELEMENTS) as element, code.loop(0, y_pixel, vectors * lanes) as column:
            row, matrix = own_patches + element * patch_apart, weights + (element * inputs * y_pixel + column)
            result = own_products + (element * product_apart + column)
            with code.loop(0, tiles, positions) as tile:
                at = [(tile + p).min(tiles - 1) for p in range(positions)]
                sums = [[code.variable(code.zero(lanes)) for _ in range(vectors)] for _ in at]
                accumulate(code, sums, [row + p * x_pixel for p in at], matrix, inputs, y_pixel, lanes)
                for p, accumulators in zip(at, sums, strict=True):
                    store(result + p * y_pixel, accumulators, relu=False)
        with code.loop(0, tiles) as tile, code.loop(0, y_pixel, lanes) as column:
            there = target + ((y_starts + (first + tile)).load() + column)
            start = bias_of(code, bias, column, 1, lanes)[0]
            made = own_products + (tile * y_pixel + column)
            square = [[(made + product_apart * (PATCH * i + j)).load(lanes) for j in range(PATCH)] for i in range(PATCH)]
            for i, line in enumerate(_both_ways(_products, square)):
                for j, number in enumerate(line):
                    pixel = there + (y_line * i + y_pixel * j)
                    pixel.store(number + start + pixel.load(lanes) if add else number + start)


def _own(room: Floats, thread: Int, floats: Int) -> tuple[Int, Floats]:
    """How far apart the elements of a thread's tiles lie, of so many floats each, and where they begin."""
    apart = floats + GAP
    return apart, room + thread * (apart * ELEMENTS)


def _take_patches(
    code: Code, source: Floats, starts: Longs, patches: Floats, tiles: Int, line: Int, pixel: Int, apart: Int, lanes: int
) -> None:
    """``B' d B`` of so many tiles."""
    with code.loop(0, tiles) as tile:
        patch = source + (starts + tile).load()
        with code.loop(0, pixel, lanes) as channel:
            square = _both_ways(_patch, _loaded(patch + channel, line, pixel, PATCH, lanes))
            _put(patches + (tile * pixel + channel), square, apart)


@kernel
def winograd_gradient(
    code: Code,
    x: Floats,
    dy: Floats,
    sums: Floats,
    patches: Floats,
    products: Floats,
    x_starts: Longs,
    y_starts: Longs,
    tiles_in_all: Int,
    together: Int,
    inputs: Int,
    x_sample: Int,
    x_line: Int,
    x_pixel: Int,
    y_sample: Int,
    y_line: Int,
    y_pixel: Int,
    *,
    place: Places,
    lanes: int,
    rows: int,
    vectors: int,
) -> None:
    """``sums += sum over samples of the place and tiles of (A dy A') * (B' d B)``, in the thread's own copy.

    ``sums`` is ``(threads, 16, inputs, y_pixel)``; the other arguments are as in :func:`winograd_convolution`.
    """
    thread, size = place[Place.THREAD], inputs * y_pixel
    patch_apart, own_patches = _own(patches, thread, together * x_pixel)
    product_apart, own_products = _own(products, thread, together * y_pixel)
    own = sums + thread * (size * ELEMENTS)
    for_all = code.loop(place.first, place.last), code.loop(0, tiles_in_all, together)
    with for_all[0] as sample, for_all[1] as first:
        source, arriving = x + sample * x_sample, dy + sample * y_sample
        tiles = (tiles_in_all - first).min(together)
        _take_patches(code, source, x_starts + first, own_patches, tiles, x_line, x_pixel, patch_apart, lanes)
        with code.loop(0, tiles) as tile:
            there = arriving + (y_starts + (first + tile)).load()
            with code.loop(0, y_pixel, lanes) as column:
                square = _both_ways(_spread, _loaded(there + column, y_line, y_pixel, TILE, lanes))
                _put(own_products + (tile * y_pixel + column), square, product_apart)
        for_each = code.loop(0, ELEMENTS), code.loop(0, y_pixel, vectors * lanes), code.loop(0, inputs, rows)
        with for_each[0] as element, for_each[1] as column, for_each[2] as number:
            at = [(number + r).min(inputs - 1) for r in range(rows)]
            patch = own_patches + element * patch_apart
            product = own_products + (element * product_apart + column)
            targets = [own + (element * size + c * y_pixel + column) for c in at]
            held = [[code.variable((target + v * lanes).load(lanes)) for v in range(vectors)] for target in targets]
            with code.loop(0, tiles) as tile:
                numbers = [(product + (tile * y_pixel + v * lanes)).load(lanes) for v in range(vectors)]
                for accumulators, c in zip(held, at, strict=True):
                    add_products(accumulators, (patch + (tile * x_pixel + c)).spread(lanes), numbers)
            for target, accumulators in zip(targets, held, strict=True):
                store(target, accumulators, relu=False)


@kernel
def winograd_kernel_gradient(
    code: Code, sums: Floats, gradient: Floats, inputs: Int, outputs: Int, *, place: Places, lanes: int
) -> None:
    """``G' u G`` of what the threads summed up, which is cleared: the gradient of a kernel, for the inputs of the place."""
    apart = inputs * outputs
    with code.loop(place.first, place.last) as number, code.loop(0, outputs, lanes) as column:
        at = number * outputs + column
        totals = [code.variable(code.zero(lanes)) for _ in range(ELEMENTS)]
        with code.loop(0, place[Place.THREADS]) as thread:
            own = sums + (thread * (apart * ELEMENTS) + at)
            for element, total in enumerate(totals):
                total.value = total.value + (own + apart * element).load(lanes)
                (own + apart * element).store(code.zero(lanes))
        square = [[totals[PATCH * i + j].value for j in range(PATCH)] for i in range(PATCH)]
        _put(gradient + at, _both_ways(_taps_back, square), apart)
