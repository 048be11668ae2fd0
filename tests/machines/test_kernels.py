"""The measured kernels do the work they claim: their results have the closed form, their machine code the instructions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from epochwise.machines import kernels


@pytest.mark.parametrize("length", kernels.vector_lengths())
@pytest.mark.parametrize("steps", [1, 2, 1000, 100_003])
def test_every_multiply_add_is_executed(length, steps):
    """With scale and shift 1 each chain counts its steps from where it started: exact in float32 below 2^24."""
    chains = kernels.ACCUMULATORS
    expected = length * (chains * (chains - 1) // 2 + chains * steps)
    assert kernels.multiply_add(length, steps, 1.0, 1.0) == expected


@pytest.mark.parametrize("length", kernels.vector_lengths())
def test_scale_is_used(length):
    """x -> x / 2 + 1 tends to 2 from k as 2 + (k - 2) / 2^steps, exactly, for few steps."""
    expected = sum(length * (2 + (k - 2) / 2**10) for k in range(kernels.ACCUMULATORS))
    assert kernels.multiply_add(length, 10, 0.5, 1.0) == expected


def test_flops_follow_the_definition():
    """Two FLOPs per float, accumulator and step."""
    assert kernels.multiply_add_flops(8, 3) == 2 * 8 * kernels.ACCUMULATORS * 3


@pytest.mark.parametrize("length", kernels.vector_lengths())
def test_machine_code_holds_one_vector_fma_per_accumulator(length):
    """The loop is fused multiply-adds of the full vector length in registers, nothing less."""
    if not llvm.get_host_cpu_features().get("fma"):
        pytest.skip("not an x86 processor with FMA")
    kernels.multiply_add(length, 1, 1.0, 1.0)
    register = {4: "xmm", 8: "ymm", 16: "zmm"}[length]
    code = kernels.assembly()[f"multiply_add_{length}"]
    in_registers = re.findall(rf"vfm(?:add|sub)\d+ps\s+%{register}\d+, %{register}\d+, %{register}\d+", code)
    assert len(in_registers) >= kernels.ACCUMULATORS
    assert "fmaf" not in code  # the C library's, one float at a time


def test_triad_updates_every_element_every_time():
    """``y += a x`` over and over, exact for whole numbers; nothing beyond the ends."""
    whole = np.zeros(1003, np.float32)
    x, y = np.arange(1001, dtype=np.float32), whole[1:-1]
    kernels.triad(2.0, x, y, 7)
    np.testing.assert_array_equal(y, 14 * x)
    assert whole[0] == whole[-1] == 0


def test_vector_lengths_are_the_processors_own():
    """None wider than the processor, which would be a cliff; at least one."""
    lengths = kernels.vector_lengths()
    assert lengths
    assert list(lengths) == sorted(lengths, reverse=True)
    assert (16 in lengths) == bool(llvm.get_host_cpu_features().get("avx512f"))


def test_runs_where_numba_finds_no_folder_to_cache_in(tmp_path):
    """An installation that may not be written to, for a user without a home: compiled each time, but not refused."""
    source = tmp_path / "site" / "epochwise"
    shutil.copytree(Path(kernels.__file__).parents[1], source, ignore=shutil.ignore_patterns("__pycache__", "*.html"))
    code = (
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"
        "from epochwise.machines import kernels as k\n"
        "assert 'site' in k.__file__, k.__file__\n"
        "print(k.multiply_add(k.vector_lengths()[-1], 1, 0.0, 1.0) > 0)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "True\n", done.stderr
