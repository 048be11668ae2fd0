"""The drawing of a machine: facts, levels, bars, ridge points, at 80 columns."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace
from rich.console import Console

from epochwise.machines.machine import BandwidthPoint, Cache, Machine, Peak
from epochwise.reporting.machine import bar, level, view


@pytest.fixture
def some_machine():
    """Two cores, three levels, round numbers."""
    return Machine(
        name="Some processor",
        device="cpu",
        cores=2,
        caches=(Cache(1, 48 * 2**10, 1), Cache(2, 2**20, 1), Cache(3, 2**25, 2)),
        memory_bytes=2**34,
        peak_flops_per_second=Peak(one_core=1e11, all_cores=2e11, spread=0.012),
        bandwidth=tuple(BandwidthPoint(2**power, 4e11 / 2 ** (power - 14)) for power in range(14, 29)),
        measured_at="2026-01-02T03:04:05+00:00",
        measuring_seconds=2.5,
        fingerprint="f",
        notes=("Other [programs] kept 20 % of the processors busy before measuring: figures may be too low.",),
    )


def drawn(machine: Machine) -> str:
    file = io.StringIO()
    Console(file=file, width=80, highlight=False).print(view(machine))
    return file.getvalue()


def test_everything_that_was_measured_is_shown(some_machine):
    """Name, cores, both peaks, caches, memory, when, notes as they are."""
    text = drawn(some_machine)
    for part in ("Some processor", "100.0 GFLOP/s", "200.0 GFLOP/s", "L1 48 KiB per core", "L3 32 MiB per 2 cores", "16.0 GiB"):
        assert part in text
    assert "2026-01-02T03:04:05+00:00" in text
    assert "[programs]" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_each_point_has_a_row_with_its_ridge(some_machine):
    """Peak over bandwidth: 2e11 / 4e11, and 16384 times that at the other end."""
    rows = [line.split() for line in drawn(some_machine).splitlines() if "iB" in line and ("L" in line or "memory" in line)]
    rows = [row for row in rows if row[1] in ("KiB", "MiB")]
    assert len(rows) == len(some_machine.bandwidth)
    assert rows[0][:4] == ["16", "KiB", "L1", "400.0"]
    assert rows[0][-1] == "0.50"
    assert rows[-1][-1] == f"{2e11 / some_machine.bandwidth[-1].bytes_per_second:.2f}"


def test_levels_count_all_instances(some_machine):
    """Two cores have two first caches of 48 KiB, and share the third."""
    sizes = (2**14, 96 * 2**10, 96 * 2**10 + 1, 2**21, 2**25, 2**25 + 1)
    assert [level(some_machine, size) for size in sizes] == ["L1", "L1", "L2", "L2", "L3", "memory"]


def test_a_machine_whose_caches_are_not_known(some_machine):
    """The column is left out."""
    text = drawn(replace(some_machine, caches=()))
    assert "fits" not in text
    assert "not told by the system" in text


def test_an_accelerator_has_no_cores_to_count(some_machine):
    """It is named with the framework's name of it."""
    text = drawn(replace(some_machine, device="cuda:0", caches=(), cores=1))
    assert "Some processor (cuda:0)" in text
    assert "1 core" not in text


@pytest.mark.parametrize(("share", "columns"), [(0, 0), (0.5, 12), (1, 24), (2, 24), (-1, 0)])
def test_bars(share, columns):
    """As long as their share, and never longer than all."""
    assert bar(share) == "█" * columns


def test_bars_end_in_eighths():
    """A short bar is still seen."""
    assert bar(1 / 24 / 8) == "▏"
