"""Control groups, versions 1 and 2, read from made-up files."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from epochwise.machines.limits import cpu_quota, memory_available, memory_limit


class Groups:
    """A made-up /sys/fs/cgroup and /proc/self/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.root, self.membership = folder / "cgroup", folder / "self"
        self.membership.write_text("0::/\n")

    def member(self, text: str) -> None:
        self.membership.write_text(text)

    def file(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    @property
    def places(self) -> tuple[Path, Path]:
        return self.root, self.membership


@pytest.fixture
def groups(tmp_path):
    return Groups(tmp_path)


def test_no_files_no_limits(groups):
    """A system without control groups, or not Linux at all."""
    groups.membership.unlink()
    assert cpu_quota(*groups.places) is None
    assert memory_limit(*groups.places) is None
    assert memory_available(*groups.places) > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", None),
        ("150000 100000\n", 1.5),
        ("20000 100000", 0.2),
        ("800000 100000", 8.0),
        ("", None),
        ("rubbish", None),
        ("100000", None),
        ("100000 0", None),
    ],
)
def test_version_2(groups, text, expected):
    """``cpu.max`` holds a quota and a period; what is not understood is no limit."""
    groups.member("0::/user/job\n")
    groups.file("user/job/cpu.max", text)
    assert cpu_quota(*groups.places) == expected


def test_the_tightest_group_on_the_way_up_counts(groups):
    """A child cannot have more than its parent."""
    groups.member("0::/outer/inner\n")
    groups.file("outer/inner/cpu.max", "400000 100000")
    groups.file("outer/cpu.max", "200000 100000")
    assert cpu_quota(*groups.places) == 2.0


def test_inside_a_container_the_root_stands_for_the_group(groups):
    """The path names a group of the host, which is not visible."""
    groups.member("0::/../../kubepods/pod7\n")
    groups.file("cpu.max", "300000 100000")
    assert cpu_quota(*groups.places) == 3.0


@pytest.mark.parametrize(("quota", "expected"), [("-1\n", None), ("250000\n", 2.5)])
def test_version_1(groups, quota, expected):
    """Two files, in a folder named for the controllers that share it."""
    groups.member("4:memory:/\n3:cpu,cpuacct:/job\n")
    groups.file("cpu,cpuacct/job/cpu.cfs_quota_us", quota)
    groups.file("cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
    assert cpu_quota(*groups.places) == expected


def test_version_1_accounting_is_not_the_cpu_controller(groups):
    """``cpuset`` and ``cpuacct`` begin with the same letters and hold no quota."""
    groups.member("2:cpuset:/\n1:cpuacct:/\n")
    groups.file("cpuset/cpu.cfs_quota_us", "100000")
    groups.file("cpuset/cpu.cfs_period_us", "100000")
    assert cpu_quota(*groups.places) is None


def test_memory_of_both_versions(groups):
    """The tighter of the two."""
    groups.member("4:memory:/job\n0::/job\n")
    groups.file("memory/job/memory.limit_in_bytes", "1000000")
    groups.file("unified/job/memory.max", "900000")
    assert memory_limit(*groups.places) == 900000


def test_version_1_writes_no_limit_as_a_huge_number(groups):
    """A page below 2^63."""
    groups.member("4:memory:/\n")
    groups.file("memory/memory.limit_in_bytes", "9223372036854771712")
    assert memory_limit(*groups.places) is None


def test_available_memory_is_what_the_group_leaves(groups):
    """Cached files are charged to the group, but come back on demand."""
    groups.file("memory.max", "1000000")
    groups.file("memory.current", "700000")
    groups.file("memory.stat", "anon 300000\ninactive_file 400000\n")
    assert memory_available(*groups.places) == 700000


def test_available_memory_is_never_more_than_the_computers(groups):
    """A generous group does not make memory."""
    groups.file("memory.max", str(2**50))
    assert memory_available(*groups.places) <= psutil.virtual_memory().total
