"""This computer, really measured once. Only what other load cannot break is asserted."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import psutil
import pytest
import threadpoolctl

from epochwise import machines
from epochwise.machines import cpu, limits
from epochwise.machines.host import host
from epochwise.machines.load import OtherLoad, lacking
from epochwise.machines.machine import Cache
from epochwise.machines.timing import Crew


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """This computer, and the calls of progress."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPOCHWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = machines.machine(refresh=True, progress=lambda *call: calls.append(call))
    return found, calls


def test_peak_is_plausible(measured):
    """At least a scalar multiply-add at 0.5 GHz; at most 4 units of 16 floats at 7 GHz (a matrix unit: ten times that)."""
    peak = measured[0].peak_flops_per_second
    assert 1e9 < peak.one_core < 10 * 2 * 4 * 16 * 7e9
    assert peak.all_cores <= peak.one_core * measured[0].cores * 2
    assert 0 <= peak.spread < math.inf


def test_all_cores_are_at_least_one_core(measured):
    """Whatever disturbed the run on all of them (a quota below one core takes from both)."""
    peak = measured[0].peak_flops_per_second
    assert peak.all_cores >= peak.one_core * (1 - 1e-9)


def test_peak_is_at_least_the_matrix_product(measured):
    """The peak is the better of two, so a product that beats it by far means that it was not one. 1.5 allows for load."""
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        product = cpu._matrix_product(1, measured[0].peak_flops_per_second.one_core)
    assert product is None or measured[0].peak_flops_per_second.one_core * 1.5 > product.best


def test_bandwidth_is_plausible(measured):
    """Between 100 MB/s and 2 KB per cycle and core at 7 GHz."""
    for point in measured[0].bandwidth:
        assert 1e8 < point.bytes_per_second < 2048 * 7e9 * measured[0].cores


def test_working_sets_double_from_16_kib(measured):
    """In order; the largest is beyond the last cache where memory allows."""
    sizes = [point.working_set_bytes for point in measured[0].bandwidth]
    assert sizes[0] >= 16 * 2**10
    assert all(second == 2 * first for first, second in itertools.pairwise(sizes))
    if limits.memory_available() > 2**31:
        assert sizes[-1] >= 2**28


def test_caches_are_faster_than_memory(measured):
    """By 1.2 at the very least, the best cache point against the largest working set."""
    found = measured[0]
    assert max(point.bytes_per_second for point in found.bandwidth[:-2]) > 1.2 * found.bandwidth[-1].bytes_per_second


def test_progress_ends_where_it_said(measured):
    """Starts at 0, never falls, ends at the total."""
    calls = measured[1]
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert done[0] == 0
    assert calls[-1][0] == calls[-1][1]
    assert {call[1] for call in calls[1:]} == {calls[-1][1]}


def test_record_says_when_and_how_long(measured):
    """And what for."""
    found = measured[0]
    assert found.fingerprint == host().fingerprint
    assert found.measured_at.endswith("+00:00")
    assert 0 < found.measuring_seconds < 120
    assert found.device == "cpu"


def test_threads_of_blas_are_as_before(measured):
    """Measuring one core must not leave the user's NumPy on one core."""
    before = threadpoolctl.threadpool_info()
    cpu._matrix_product(1, 1e10)
    assert [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] == [pool["num_threads"] for pool in before]


def make_host(**changed):
    from msgspec.structs import replace

    return replace(host(), **changed)


def test_small_memory_makes_small_working_sets(monkeypatch):
    """A quarter of what is free, and one point at least."""
    monkeypatch.setattr(limits, "memory_available", lambda: 2**20)
    assert cpu.working_sets(make_host(cores=2))[-1] == 2**18
    monkeypatch.setattr(limits, "memory_available", lambda: 0)
    assert len(cpu.working_sets(make_host(cores=2))) == 1


def test_many_cores_have_4_kib_each_at_least(monkeypatch):
    """Less would measure the loop."""
    monkeypatch.setattr(limits, "memory_available", lambda: 2**40)
    assert cpu.working_sets(make_host(cores=96))[0] == 2**19


def test_large_caches_make_larger_working_sets(monkeypatch):
    """Four times what all instances of the last cache hold, up to 1 GiB."""
    monkeypatch.setattr(limits, "memory_available", lambda: 2**40)
    caches = (Cache(level=3, bytes=2**26, cores=8),)
    assert cpu.working_sets(make_host(cores=16, caches=caches))[-1] == 2**29
    assert cpu.working_sets(make_host(cores=64, caches=caches))[-1] == 2**30


def test_quota_scales_what_all_cores_do(monkeypatch):
    """Bursts on two cores, three quarters of the time."""
    monkeypatch.setattr(cpu, "_chains", lambda crew, _: cpu.Rates((1e11 * crew.cores,) * 5))
    monkeypatch.setattr(cpu, "_matrix_product", lambda *_: None)
    with Crew(2) as crew:
        found, _ = cpu.peak(make_host(cores=2, quota=1.5), crew, lambda _: None)
    assert (found.one_core, found.all_cores) == (1e11, 1.5e11)


def test_a_disturbed_run_on_all_cores_does_not_contradict_one_core(monkeypatch):
    """All cores can do what one does, whatever else ran on them meanwhile; the quota stays in force."""
    monkeypatch.setattr(cpu, "_chains", lambda crew, _: cpu.Rates((1e11 / crew.cores,) * 5))
    monkeypatch.setattr(cpu, "_matrix_product", lambda *_: None)
    with Crew(2) as crew:
        assert cpu.peak(make_host(cores=2, quota=1.5), crew, lambda _: None)[0].all_cores == 1e11
    with Crew(1) as crew:
        found, _ = cpu.peak(make_host(cores=1, quota=0.5), crew, lambda _: None)
    assert (found.one_core, found.all_cores) == (0.5e11, 0.5e11)


def test_the_better_of_chains_and_matrix_product_is_the_peak(monkeypatch):
    """A BLAS may use units that compiled Python cannot reach."""
    monkeypatch.setattr(cpu, "_chains", lambda crew, _: cpu.Rates((1e11 * crew.cores,) * 5))
    monkeypatch.setattr(cpu, "_matrix_product", lambda cores, _: cpu.Rates((3e11 * cores,) * 5))
    with Crew(2) as crew:
        found, notes = cpu.peak(make_host(cores=2, quota=None), crew, lambda _: None)
    assert (found.one_core, found.all_cores) == (3e11, 6e11)
    assert notes == []


def test_repeats_that_disagree_are_noted(monkeypatch):
    """With the spread in the sentence."""
    monkeypatch.setattr(cpu, "_chains", lambda *_: cpu.Rates((1e11, 1e11, 2e11, 3e11, 3e11)))
    monkeypatch.setattr(cpu, "_matrix_product", lambda *_: None)
    with Crew(2) as crew:
        found, notes = cpu.peak(make_host(cores=2, quota=None), crew, lambda _: None)
    assert found.all_cores == 3e11
    assert any("100%" in note for note in notes)


@pytest.mark.parametrize(
    ("others", "noted", "quiet"),
    [(0.0, False, True), (0.1, False, True), (0.4, True, True), (1.0, True, False), (9.0, True, False)],
)
def test_other_load_is_noted_and_heavy_load_not_kept(monkeypatch, others, noted, quiet):
    """On two processors, both ours: a tenth of ours taken is a note, a quarter is not worth keeping."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    notes, keep = cpu.surroundings(make_host(cores=2, quota=None), others)
    assert any("Others kept" in note for note in notes) == noted
    assert keep == quiet


@pytest.mark.parametrize(("others", "expected"), [(0, 0), (12, 0), (13, 0.25), (16, 1), (20, 1)])
def test_others_do_no_harm_where_there_is_room(monkeypatch, others, expected):
    """Four of sixteen processors are ours."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert lacking(others, 4) == expected


def test_our_own_work_and_idle_time_are_not_other_load(monkeypatch):
    """In ten seconds: 8 of user time, 5 of them ours, 1 stolen by other guests, 11 idle or waiting for a disk."""
    facts = namedtuple("facts", "user nice system idle iowait steal guest guest_nice")
    now = {"times": facts(100, 0, 10, 500, 50, 3, 20, 0), "own": 40.0, "clock": 1000.0}
    monkeypatch.setattr(psutil, "cpu_times", lambda: now["times"])
    monkeypatch.setattr(time, "process_time", lambda: now["own"])
    monkeypatch.setattr(time, "monotonic", lambda: now["clock"])
    load = OtherLoad()
    now |= {"times": facts(108, 0, 10, 510, 51, 4, 22, 0), "own": 45.0, "clock": 1010.0}
    # Time of our own guests (2 seconds) is in user time already; its column is not counted again.
    assert load.processors() == pytest.approx((8 + 1 - 5) / 10)


def test_another_process_is_other_load():
    """One that computes for a second."""
    code = "import time; end = time.monotonic() + 1.0\nwhile time.monotonic() < end: pass"
    load = OtherLoad()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert load.processors() > 0.3


def test_all_cores_no_faster_than_one_is_noted(monkeypatch):
    """Two threads of one core, or a computer busy with something else."""
    monkeypatch.setattr(cpu, "_chains", lambda *_: cpu.Rates((1e11,) * 5))
    monkeypatch.setattr(cpu, "_matrix_product", lambda *_: None)
    with Crew(2) as crew:
        assert "hardly faster" in cpu.peak(make_host(cores=2, quota=None), crew, lambda _: None)[1][0]


def test_x_and_y_of_a_block_do_not_overlap_and_lie_apart():
    """Not a multiple of 4 KiB apart, nor shortly after."""
    block = np.arange(10_000, dtype=np.float32)
    for elements in (16, 1000, 1024, 3000, 4096):
        x, y = cpu._slices(block, elements)
        assert x.size == y.size == elements
        assert x[-1] < y[0]
        assert (y[0] - x[0]) % 1024 == cpu.GAP_FLOATS


def test_sizes_read_well():
    """In the largest unit that divides them."""
    assert [cpu.readable(size) for size in (512, 2**14, 2**28, 2**30)] == ["512 B", "16 KiB", "256 MiB", "1 GiB"]
