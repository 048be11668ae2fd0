"""A made-up machine, and a cache folder that no test shares with the user."""

from __future__ import annotations

import pytest

from epochwise.machines.machine import BandwidthPoint, Cache, Machine, Peak


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EPOCHWISE_CACHE", str(folder))
    return folder


@pytest.fixture
def some_machine():
    """A machine with round numbers."""
    return Machine(
        name="Some processor",
        device="cpu",
        cores=2,
        caches=(Cache(level=1, bytes=2**15, cores=1), Cache(level=2, bytes=2**20, cores=2)),
        memory_bytes=2**34,
        peak_flops_per_second=Peak(one_core=1e11, all_cores=2e11, spread=0.01),
        bandwidth=(BandwidthPoint(2**14, 4e11), BandwidthPoint(2**18, 2e11), BandwidthPoint(2**28, 4e10)),
        measured_at="2026-01-02T03:04:05+00:00",
        measuring_seconds=2.5,
        fingerprint="0123456789abcdef",
        notes=("A note.",),
    )
