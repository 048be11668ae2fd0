"""The two compiled kernels whose speed is measured: a chain of fused multiply-adds, and a triad. Imports Numba; import late.

Both run without Python's lock, so that one Python thread per core keeps all cores busy, and both loop inside, so that the cost
of a call does not matter. Neither uses fast-math: every operation written here is executed, and the results have a closed form
that the tests compare with.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

Floats = np.ndarray[Any, np.dtype[np.float32]]
FLOPS_PER_FMA = 2


_OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` compiled without Python's lock, kept on disk where Numba finds a folder that it may write."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # "no locator available": neither beside this file nor in the user's cache
        return numba.njit(**_OPTIONS)(function)  # type: ignore[no-any-return]


def vector_lengths() -> tuple[int, ...]:
    """Floats per vector worth trying on this processor, widest first.

    The widest is not always the fastest (some processors split it, some lower their clock for it), and one wider than the
    processor's is far slower, so every length that the processor has is measured, and none beyond.
    """
    features = llvm.get_host_cpu_features()
    lengths = [
        length
        for length, feature in ((16, "avx512f"), (8, "avx"))  # x86; the 4 floats of SSE and NEON are taken for granted
        if features.get(feature)
    ]
    return tuple(lengths) or (4,)


def _accumulators() -> int:
    """How many independent chains hide the latency of a fused multiply-add.

    Latency (4 to 5 cycles) x units (2 on x86, up to 4 elsewhere). AVX2 has 16 registers, and two hold constants.
    """
    has_32_registers = platform.machine().lower() in ("aarch64", "arm64") or llvm.get_host_cpu_features().get("avx512f", False)
    return 24 if has_32_registers else 12


ACCUMULATORS = _accumulators()


def _fma_chain(length: int) -> Any:
    """An intrinsic ``(steps, scale, shift) -> sum`` on ``ACCUMULATORS`` vectors of ``length`` floats held in registers."""
    vector = ir.VectorType(ir.FloatType(), length)

    def splat(builder: Any, value: Any) -> Any:
        undefined = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), length), [0] * length))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        steps, scale, shift = arguments
        scales, shifts = splat(builder, scale), splat(builder, shift)
        # Fused where the processor can, multiply and add where it cannot: the FLOPs are the same.
        kind = ir.FunctionType(vector, [vector] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{length}f32")
        before = builder.block
        loop, after = builder.append_basic_block("fma.loop"), builder.append_basic_block("fma.done")
        builder.branch(loop)
        builder.position_at_end(loop)
        counter = builder.phi(steps.type)
        counter.add_incoming(steps.type(0), before)
        chains = []
        for number in range(ACCUMULATORS):
            chain = builder.phi(vector)
            # Each starts elsewhere: equal chains would be merged into one.
            chain.add_incoming(ir.Constant(vector, [float(number)] * length), before)
            chains.append(chain)
        results = [builder.call(fma, [chain, scales, shifts]) for chain in chains]
        following = builder.add(counter, steps.type(1))
        counter.add_incoming(following, loop)
        for chain, result in zip(chains, results, strict=True):
            chain.add_incoming(result, loop)
        builder.cbranch(builder.icmp_signed("<", following, steps), loop, after)
        builder.position_at_end(after)
        total = ir.Constant(ir.DoubleType(), 0.0)
        for result in results:
            for lane in range(length):
                value = builder.extract_element(result, ir.Constant(ir.IntType(32), lane))
                total = builder.fadd(total, builder.fpext(value, ir.DoubleType()))
        return total

    @intrinsic  # type: ignore[untyped-decorator]
    def chain(typing: Any, steps: Any, scale: Any, shift: Any) -> Any:
        return types.float64(types.int64, types.float32, types.float32), generate

    return chain


_chain_4, _chain_8, _chain_16 = _fma_chain(4), _fma_chain(8), _fma_chain(16)


@_compiled
def _multiply_add_4(steps: int, scale: float, shift: float) -> Any:
    return _chain_4(steps, scale, shift)


@_compiled
def _multiply_add_8(steps: int, scale: float, shift: float) -> Any:
    return _chain_8(steps, scale, shift)


@_compiled
def _multiply_add_16(steps: int, scale: float, shift: float) -> Any:
    return _chain_16(steps, scale, shift)


_MULTIPLY_ADD = {4: _multiply_add_4, 8: _multiply_add_8, 16: _multiply_add_16}


def multiply_add(length: int, steps: int, scale: float, shift: float) -> float:
    """Run ``x = x * scale + shift`` on ``ACCUMULATORS`` vectors of ``length`` floats, ``steps`` times; the sum of all x.

    Accumulator k starts at k in every lane. ``steps`` is at least 1.
    """
    return float(_MULTIPLY_ADD[length](steps, np.float32(scale), np.float32(shift)))


def multiply_add_flops(length: int, steps: int) -> int:
    """FLOPs of :func:`multiply_add`."""
    return FLOPS_PER_FMA * ACCUMULATORS * length * steps


@_compiled
def _triad(a: float, x: Floats, y: Floats, repeats: int) -> None:
    for _ in range(repeats):
        for i in range(x.size):
            y[i] += a * x[i]


def triad(a: float, x: Floats, y: Floats, repeats: int) -> None:
    """``y += a * x``, ``repeats`` times over: reads x, reads y, writes y (12 bytes an element), in place."""
    _triad(np.float32(a), x, y, repeats)


def assembly() -> dict[str, str]:
    """Machine code, as text, of the kernels that have been called so far, by name: for looking at, and for the tests."""
    kernels = {f"multiply_add_{length}": kernel for length, kernel in _MULTIPLY_ADD.items()} | {"triad": _triad}
    return {name: _text_of(kernel) for name, kernel in kernels.items()}


def _text_of(kernel: Any) -> str:
    # Compiled once more, for Numba does not show what it took from its disk cache.
    fresh = numba.njit(**_OPTIONS)(kernel.py_func)
    for signature in kernel.signatures:
        fresh.compile(signature)
    return "\n".join(fresh.inspect_asm().values())
