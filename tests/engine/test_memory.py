"""What training takes of memory beside the data that the user has already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parent / "memory_worker.py"
MIB = 2**20
MOST = 200 * MIB
FLOAT32 = 130_000 * 28 * 28 * 4


@pytest.mark.jax
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of resident memory is read from Linux's /proc")
@pytest.mark.parametrize(
    ("kind", "copies"),
    [("float32", 0), ("uint8", 0), pytest.param("float64", FLOAT32, marks=pytest.mark.long), ("stream", 0)],
)
def test_memory(kind, copies):
    """At most 200 MiB beside the data (some 400 MB), which are not copied; float64 becomes float32, once."""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, WORKER, kind], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    assert copies <= grown <= copies + MOST, f"{grown / MIB:.0f} MiB"
