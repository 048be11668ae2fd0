"""Why the engine's kernels are written to LLVM and not as Numba functions: the same two kernels both ways, side by side.

    python benchmarks/compilers.py --json benchmarks/results/DATE-compilers.json

A dense layer (32 rows, 784 -> 64) and a convolution (13x13x16 -> 11x11x16, 3x3, 16 samples), on one thread:

* ``engine``: the engine's own kernels, ``products.dense`` and ``products.convolution``;
* ``Numba, explicit SIMD``: the same register tiles as an intrinsic of Numba, called from loops in Numba;
* ``Numba, loops``: plain loops with ``fastmath``, which the compiler turns into vectors as well as it can.

Each turn is a process of its own, with an empty cache and then once more with a full one, and the turns go round. ``ready`` is
from before the import of Numba or of the engine's compiler until both kernels can be called; ``compile`` is without the import.
These are seconds of the processor, and the time of a kernel is the shortest of many: other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROWS, INPUTS, OUTPUTS = 32, 784, 64
SAMPLES, SIDE, CHANNELS, TAPS = 16, 13, 16, 3
OUT = SIDE - TAPS + 1
LANES = 16
TRIES, CALLS = 200, 5
WAYS = ("engine", "Numba, explicit SIMD", "Numba, loops")
FLOPS = {"dense": 2 * ROWS * INPUTS * OUTPUTS, "convolution": 2 * SAMPLES * OUT * OUT * TAPS * TAPS * CHANNELS * CHANNELS}

Kernels = dict[str, Callable[[], Any]]


class Problem:
    """The arrays of both kernels, and what they must give."""

    def __init__(self) -> None:
        from epochwise.engine.plan import floats

        generator = np.random.default_rng(0)

        def random(*shape: int) -> Any:
            array = floats(*shape)
            array[...] = generator.standard_normal(shape, np.float32)
            return array

        self.x, self.w, self.b, self.y = random(ROWS, INPUTS), random(INPUTS, OUTPUTS), random(OUTPUTS), floats(ROWS, OUTPUTS)
        self.maps = random(SAMPLES, SIDE, SIDE, CHANNELS)
        self.k, self.c = random(TAPS, TAPS, CHANNELS, CHANNELS), random(CHANNELS)
        self.out = floats(SAMPLES, OUT, OUT, CHANNELS)
        i, j = np.meshgrid(np.arange(OUT), np.arange(OUT), indexing="ij")
        self.starts = ((i * SIDE + j) * CHANNELS).ravel().astype(np.int64)
        self.runs = (np.arange(TAPS) * SIDE * CHANNELS).astype(np.int64)

    def check(self) -> None:
        """Both results against NumPy's.

        Raises:
            AssertionError: one is wrong.
        """
        np.testing.assert_allclose(self.y, self.x @ self.w + self.b, rtol=1e-4, atol=1e-3)
        windows = np.lib.stride_tricks.sliding_window_view(self.maps, (TAPS, TAPS), (1, 2))
        expected = np.einsum("nijcuv,uvco->nijo", windows, self.k, optimize=True) + self.c
        np.testing.assert_allclose(self.out, expected, rtol=1e-4, atol=1e-3)


def engine_kernels(p: Problem) -> Kernels:
    """The engine's, one call for all rows or samples."""
    import ctypes

    from epochwise.engine.code import Call, Place
    from epochwise.engine.kernels import products
    from epochwise.engine.library import library_for
    from epochwise.engine.target import this_target

    target = this_target()
    lanes = target.lanes
    vectors = 4 if lanes == LANES else 2
    dense = products.dense(lanes=lanes, rows=4, vectors=vectors, relu=False, add=False)
    convolution = products.convolution(lanes=lanes, positions=8, vectors=1, relu=False, add=False)
    addresses = library_for(target).load([dense, convolution])
    words = {
        dense: Call(
            dense,
            {"x": p.x, "weights": p.w, "bias": p.b, "y": p.y, "inputs": INPUTS, "outputs": OUTPUTS, "rows_of_sample": 1},
        ).words(),
        convolution: Call(
            convolution,
            {
                **{"x": p.maps, "weights": p.k, "bias": p.c, "y": p.out, "starts": p.starts, "positions_in_all": OUT * OUT},
                **{"runs": p.runs, "runs_in_all": TAPS, "run": TAPS * CHANNELS, "x_sample": SIDE * SIDE * CHANNELS},
                **{"y_sample": OUT * OUT * CHANNELS, "y_position": CHANNELS, "outputs": CHANNELS},
            },
        ).words(),
    }

    def called(variant: Any, items: int) -> Callable[[], Any]:
        place = np.zeros(16, np.int64)
        place[Place.LAST], place[Place.THREADS], place[Place.BATCH] = items, 1, items
        function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(addresses[variant])
        arguments = words[variant]
        return lambda held=(place, arguments): function(held[1].ctypes.data, held[0].ctypes.data)

    return {"dense": called(dense, ROWS), "convolution": called(convolution, SAMPLES)}


def numba_kernels(p: Problem, *, simd: bool) -> Kernels:
    """Numba's, with its cache on disk."""
    import compilers_numba

    made = compilers_numba.explicit if simd else compilers_numba.plain
    x, w, y, maps, k, out = (array.reshape(-1) for array in (p.x, p.w, p.y, p.maps, p.k, p.out))
    sizes = (SAMPLES, SIDE * SIDE * CHANNELS, OUT * OUT, TAPS * CHANNELS, CHANNELS)
    dense, convolution = made()
    kernels: Kernels = {
        "dense": lambda: dense(x, w, p.b, y, ROWS, INPUTS, OUTPUTS),
        "convolution": lambda: convolution(maps, k, p.c, out, p.starts, p.runs, *sizes),
    }
    for run in kernels.values():
        run()  # Numba compiles at the first call
    return kernels


def turn(way: str) -> dict[str, float]:
    """Make the kernels ready and time them, in a fresh process."""
    problem = Problem()
    before = time.process_time()
    if way == "engine":
        import epochwise.engine.kernels.products
        import epochwise.engine.library  # noqa: F401
    else:
        import numba  # noqa: F401
    imported = time.process_time()
    kernels = engine_kernels(problem) if way == "engine" else numba_kernels(problem, simd=way == WAYS[1])
    ready = time.process_time()
    seconds = {"import": imported - before, "compile": ready - imported, "ready": ready - before}
    for name, run in kernels.items():
        run()
        best = float("inf")
        for _ in range(TRIES):
            start = time.perf_counter()
            for _ in range(CALLS):
                run()
            best = min(best, (time.perf_counter() - start) / CALLS)
        seconds[name] = best
    problem.check()
    return seconds


def in_process(way: str, cache: str) -> dict[str, float]:
    """A turn with this cache folder."""
    environment = os.environ | {"EPOCHWISE_CACHE": cache, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, __file__, "--turn", way]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout))


def main() -> None:
    """All turns, a table, and the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turn", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.turn:
        print(json.dumps(turn(options.turn)))
        return
    turns: dict[str, list[dict[str, dict[str, float]]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as cache:
                turns[way].append({"cold": in_process(way, cache), "warm": in_process(way, cache)})
    for way, taken in turns.items():
        medians = {
            state: {name: statistics.median(one[state][name] for one in taken) for name in taken[0][state]}
            for state in ("cold", "warm")
        }
        fastest = {name: min(one[state][name] for one in taken for state in one) for name in FLOPS}
        speeds = ", ".join(f"{name} {flops / fastest[name] / 1e9:.0f} GFLOP/s" for name, flops in FLOPS.items())
        cold, warm = medians["cold"], medians["warm"]
        print(
            f"{way:22s} compile {cold['compile']:.2f} s, from the cache {warm['compile']:.2f} s; "
            f"ready with imports {cold['ready']:.2f} and {warm['ready']:.2f} s; {speeds}"
        )
    if options.json:
        versions = {name: importlib.metadata.version(name) for name in ("epochwise", "numba", "llvmlite", "numpy")}
        record = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions,
            "flops": FLOPS,
            "turns": turns,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
