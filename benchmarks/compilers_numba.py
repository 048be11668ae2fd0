"""The two kernels of ``compilers.py`` in Numba: with the engine's register tiles as an intrinsic, and as plain loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
FLOAT, LONG = ir.FloatType(), ir.IntType(64)
OPTIONS = {"fastmath": True, "error_model": "numpy", "boundscheck": False, "nogil": True, "cache": True}


def product_tile(positions: int, vectors: int) -> Callable[..., Any]:
    """``y[p, v] = bias[v] + sum over runs and i of x[at[p] + run + i] * w[i, v]``, in registers."""
    vector = ir.VectorType(FLOAT, LANES)

    @intrinsic
    def tile(_: Any, x: Any, at: Any, w: Any, bias: Any, y: Any, to: Any, runs: Any, run: Any, column: Any, row: Any) -> Any:
        signature = types.void(x, at, w, bias, y, to, runs, run, column, row)

        def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def pointer(number: int) -> Any:
                return context.make_array(signature.args[number])(context, builder, arguments[number]).data

            def load(place: Any) -> Any:
                return builder.load(builder.bitcast(place, vector.as_pointer()), align=4)

            def spread(number: Any) -> Any:
                undefined = ir.Constant(vector, ir.Undefined)
                first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
                zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                return builder.shuffle_vector(first, undefined, zeros)

            def further(place: Any, number: Any) -> Any:
                return builder.gep(place, [number])

            x_at, w_at, bias_at, y_at, runs_at = (pointer(number) for number in (0, 2, 3, 4, 6))
            run_length, first_column, row_length = arguments[7], arguments[8], arguments[9]
            sources = [further(x_at, builder.extract_value(arguments[1], p)) for p in range(positions)]
            targets = [further(y_at, builder.extract_value(arguments[5], p)) for p in range(positions)]
            offsets = [builder.add(first_column, ir.Constant(LONG, v * LANES)) for v in range(vectors)]
            sums = [[cgutils.alloca_once_value(builder, load(further(bias_at, o))) for o in offsets] for _ in sources]
            count = context.make_array(signature.args[6])(context, builder, arguments[6]).nitems
            with cgutils.for_range(builder, count) as over_runs:
                begin = builder.load(further(runs_at, over_runs.index))
                weights = further(w_at, builder.mul(builder.mul(over_runs.index, run_length), row_length))
                windows = [further(source, begin) for source in sources]
                with cgutils.for_range(builder, run_length) as inside:
                    line = further(weights, builder.mul(inside.index, row_length))
                    numbers = [spread(builder.load(further(window, inside.index))) for window in windows]
                    for v, offset in enumerate(offsets):
                        weight = load(further(line, offset))
                        for p, number in enumerate(numbers):
                            product = builder.fmul(number, weight, flags=("contract",))
                            total = builder.fadd(builder.load(sums[p][v]), product, flags=("contract",))
                            builder.store(total, sums[p][v])
            for target, accumulators in zip(targets, sums, strict=True):
                for v, accumulator in enumerate(accumulators):
                    place = builder.bitcast(further(target, ir.Constant(LONG, v * LANES)), vector.as_pointer())
                    builder.store(builder.load(accumulator), place, align=4)
            return context.get_dummy_value()

        return signature, write

    return tile  # type: ignore[no-any-return]


ROWS, VECTORS, POSITIONS = 4, 4, 8
_dense_tile = product_tile(ROWS, VECTORS)
_convolution_tile = product_tile(POSITIONS, 1)


def explicit() -> tuple[Any, Any]:
    """Dense layer and convolution with tiles."""
    import numpy as np

    one_run = np.zeros(1, np.int64)

    @njit(**OPTIONS)
    def dense(x: Any, w: Any, bias: Any, y: Any, rows: int, inputs: int, outputs: int, runs: Any) -> None:
        for column in range(0, outputs, VECTORS * LANES):
            for row in range(0, rows, ROWS):
                at = (row * inputs, (row + 1) * inputs, (row + 2) * inputs, (row + 3) * inputs)
                o = row * outputs + column
                to = (o, o + outputs, o + 2 * outputs, o + 3 * outputs)
                _dense_tile(x, at, w, bias, y, to, runs, inputs, column, outputs)

    @njit(**OPTIONS)
    def convolution(
        x: Any, w: Any, bias: Any, y: Any, starts: Any, runs: Any, samples: int, sample: int, many: int, run: int, m: int
    ) -> None:
        last = many - 1
        for s in range(samples):
            i, o = s * sample, s * many * m
            for column in range(0, m, LANES):
                for p in range(0, many, POSITIONS):
                    a, b, c, d = p, min(p + 1, last), min(p + 2, last), min(p + 3, last)
                    e, f, g, h = min(p + 4, last), min(p + 5, last), min(p + 6, last), min(p + 7, last)
                    near = (i + starts[a], i + starts[b], i + starts[c], i + starts[d])
                    far = (i + starts[e], i + starts[f], i + starts[g], i + starts[h])
                    q = o + column
                    to = (q + a * m, q + b * m, q + c * m, q + d * m, q + e * m, q + f * m, q + g * m, q + h * m)
                    _convolution_tile(x, near + far, w, bias, y, to, runs, run, column, m)

    return lambda *given: dense(*given, one_run), convolution


def plain() -> tuple[Any, Any]:
    """The same with loops, whose innermost is over outputs that lie side by side."""

    @njit(**OPTIONS)
    def dense(x: Any, w: Any, bias: Any, y: Any, rows: int, inputs: int, outputs: int) -> None:
        for row in range(rows):
            for o in range(outputs):
                y[row * outputs + o] = bias[o]
            for i in range(inputs):
                number = x[row * inputs + i]
                for o in range(outputs):
                    y[row * outputs + o] += number * w[i * outputs + o]

    @njit(**OPTIONS)
    def convolution(
        x: Any, w: Any, bias: Any, y: Any, starts: Any, runs: Any, samples: int, sample: int, many: int, run: int, m: int
    ) -> None:
        for s in range(samples):
            for p in range(many):
                to = (s * many + p) * m
                for o in range(m):
                    y[to + o] = bias[o]
                for r in range(len(runs)):
                    at = s * sample + starts[p] + runs[r]
                    for i in range(run):
                        number = x[at + i]
                        for o in range(m):
                            y[to + o] += number * w[(r * run + i) * m + o]

    return dense, convolution
