"""Facts from the operating system, read from made-up files."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from epochwise.machines import host as module
from epochwise.machines import limits
from epochwise.machines.host import caches, count_cpus, fingerprint_of, host, parse_size, processor
from epochwise.machines.machine import Cache


def cache_folder(root: Path, index: int, **facts: str) -> None:
    folder = root / "cpu0" / "cache" / f"index{index}"
    folder.mkdir(parents=True)
    for name, text in facts.items():
        (folder / name).write_text(text + "\n")


def test_caches_with_their_sharing(tmp_path):
    """Instruction caches are left out; a folder that cannot be understood as well."""
    cache_folder(tmp_path, 0, level="1", type="Data", size="48K", shared_cpu_list="0,8")
    cache_folder(tmp_path, 1, level="1", type="Instruction", size="32K", shared_cpu_list="0,8")
    cache_folder(tmp_path, 2, level="2", type="Unified", size="2048K", shared_cpu_list="0,8")
    cache_folder(tmp_path, 3, level="3", type="Unified", size="32M", shared_cpu_list="0-15")
    cache_folder(tmp_path, 4, level="4", type="Unified", size="?", shared_cpu_list="0-15")
    assert caches(tmp_path) == (
        Cache(level=1, bytes=48 * 2**10, cores=2),
        Cache(level=2, bytes=2 * 2**20, cores=2),
        Cache(level=3, bytes=32 * 2**20, cores=16),
    )


def test_no_caches_where_the_system_does_not_tell(tmp_path):
    """Virtual machines and other systems."""
    assert caches(tmp_path) == ()


@pytest.mark.parametrize(("text", "size"), [("32K\n", 32768), ("1024K", 2**20), ("32M", 2**25), ("1G", 2**30), ("64", 64)])
def test_sizes(text, size):
    """As the kernel writes them."""
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("0-3", 4), ("0-3,8,10-11\n", 7)])
def test_cpu_lists(text, count):
    """Ranges and single processors."""
    assert count_cpus(text) == count


def test_processor_of_x86(tmp_path):
    """The name once, although it is there for each core; family, model and stepping tell namesakes apart."""
    file = tmp_path / "cpuinfo"
    core = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Some(R)   CPU @ 2.00GHz\nstepping\t: 7\n"
    file.write_text(core + "\n" + core)
    assert processor(file) == ("Some(R) CPU @ 2.00GHz", "6/85/7")


def test_processor_of_arm_has_no_name_but_is_told_apart(tmp_path):
    """ARM's cpuinfo names numbers only."""
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x1\nCPU part\t: 0xd40\n")
    name, model = processor(file)
    assert name
    assert model == "0x41/0xd40/0x1"


def test_processor_without_the_file(tmp_path):
    """Python's own knowledge instead."""
    assert processor(tmp_path / "missing")[0]


def test_this_computer():
    """Plausible, and the same twice."""
    here = host()
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert 0 < here.share <= 1
    assert here.memory_bytes > 2**28
    assert len(here.fingerprint) == 16
    assert [cache.level for cache in here.caches] == sorted(cache.level for cache in here.caches)
    assert host() == here


@pytest.mark.parametrize(
    ("quota", "cores", "share"), [(None, 8, 1.0), (1.5, 2, 0.75), (0.5, 1, 0.5), (4.0, 4, 1.0), (64.0, 8, 1.0)]
)
def test_cores_are_those_of_affinity_and_quota(monkeypatch, quota, cores, share):
    """A part of a processor is a core with a share."""
    monkeypatch.setattr(module, "affinity", lambda: 8)
    monkeypatch.setattr(limits, "cpu_quota", lambda: quota)
    here = host()
    assert (here.cores, here.share) == (cores, share)


def test_fingerprint_follows_what_matters(monkeypatch):
    """Other cores, other caches, other memory: another machine. A few pages more: the same."""
    before = host()
    monkeypatch.setattr(module, "affinity", lambda: before.cores + 1)
    monkeypatch.setattr(limits, "cpu_quota", lambda: None)
    assert host().fingerprint != before.fingerprint
    monkeypatch.undo()
    monkeypatch.setattr(module, "caches", lambda: ())
    assert before.caches == () or host().fingerprint != before.fingerprint
    monkeypatch.undo()
    limit = 2 * 2**30
    monkeypatch.setattr(limits, "memory_limit", lambda: limit)
    small = host().fingerprint
    assert small != before.fingerprint
    monkeypatch.setattr(limits, "memory_limit", lambda: limit + 4096)
    assert host().fingerprint == small


def test_fingerprint_does_not_depend_on_the_order_of_facts():
    """It is a hash of sorted JSON."""
    assert fingerprint_of({"a": 1, "b": [2]}) == fingerprint_of({"b": [2], "a": 1})
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": 2})


def test_host_is_a_record():
    """It can be written down for a report of a problem."""
    assert msgspec.json.encode(host())
