"""The processor that kernels are compiled for: its vectors and registers, found at run time and forced in tests."""

from __future__ import annotations

import os
from dataclasses import dataclass

import llvmlite.binding as llvm

from epochwise.errors import UsageError

FORCE = "EPOCHWISE_LANES"
"""The environment variable that forces the number of lanes."""

FEW, MANY = 16, 32
"""Vector registers of AVX2, and of AVX-512 or NEON."""

_WIDE = {16: "avx512", 8: "avx,fma,f16c,xop,vaes,vpclmul,gfni"}
"""By lanes: beginnings of the names of the features that a narrower target must do without."""


@dataclass(frozen=True, slots=True)
class Target:
    """A processor.

    Attributes:
        lanes: float32 numbers in a vector register: 16 (AVX-512), 8 (AVX2) or 4.
        registers: vector registers.
        cpu: as LLVM calls it.
        features: as LLVM lists them.
    """

    lanes: int
    registers: int
    cpu: str
    features: str


def this_target(lanes: int | None = None) -> Target:
    """The processor of this machine, with its widest vectors or narrower ones.

    Args:
        lanes: 16, 8 or 4 to force it; by default what ``EPOCHWISE_LANES`` says, else the widest.

    Raises:
        UsageError: this processor has no vectors so wide, or there is no such width.
    """
    found = llvm.get_host_cpu_features()
    widest = 16 if found.get("avx512f") else 8 if found.get("avx2") and found.get("fma") else 4
    wanted = lanes or int(os.environ.get(FORCE, widest))
    if wanted not in {16, 8, 4} or wanted > widest:
        raise UsageError(
            f"The engine was asked for vectors of {wanted} float32 numbers.",
            cause=f"this processor has vectors of {widest}; narrower ones that the engine knows are 8 and 4",
            remedy=f"leave {FORCE} out, or set it to {widest}",
        )
    features = dict(found)
    for width, names in _WIDE.items():
        if wanted < width:
            features |= {name: False for name in features if name.startswith(tuple(names.split(",")))}
    many = wanted == max(_WIDE) or found.get("neon")
    listed = ",".join(f"{'+' if has else '-'}{name}" for name, has in sorted(features.items()))
    return Target(wanted, MANY if many else FEW, llvm.get_host_cpu_name(), listed)
