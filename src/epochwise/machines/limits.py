"""What control groups (containers, services, batch systems) leave to this process: processor time and memory. Linux only.

Version 2 keeps ``cpu.max`` and ``memory.max`` in one tree; version 1 keeps ``cpu.cfs_quota_us`` and ``memory.limit_in_bytes``
in trees of their own. A limit holds for everything below it, so the tightest one on the way up to the root counts. Inside a
container the group's own path often does not exist and the root stands for it: both are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
NO_LIMIT = 2**60
"""Version 1 writes "no memory limit" as a number near 2^63."""


def cpu_quota(root: Path | None = None, membership: Path | None = None) -> float | None:
    """Processors' worth of time granted to this process (1.5: one and a half), or ``None`` without a limit."""
    found = []
    for group in _groups("cpu", root or ROOT, membership or MEMBERSHIP):
        allowed, period = [*_words(group / "cpu.max"), "", ""][:2]
        if not allowed:
            allowed = next(iter(_words(group / "cpu.cfs_quota_us")), "")
            period = next(iter(_words(group / "cpu.cfs_period_us")), "")
        if allowed.isdecimal() and period.isdecimal() and int(allowed) > 0 and int(period) > 0:  # else "max", "-1", or missing
            found.append(int(allowed) / int(period))
    return min(found, default=None)


def memory_limit(root: Path | None = None, membership: Path | None = None) -> int | None:
    """Bytes of memory that this process and its neighbours in the group may use, or ``None`` without a limit."""
    return min((limit for limit, _ in _memory(root, membership)), default=None)


def memory_available(root: Path | None = None, membership: Path | None = None) -> int:
    """Bytes that can be had now without swapping and without being killed by a group's limit."""
    left = [max(0, limit - used) for limit, used in _memory(root, membership)]
    return min([psutil.virtual_memory().available, *left])


def _memory(root: Path | None, membership: Path | None) -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes for each group on the way up that has a limit."""
    for group in _groups("memory", root or ROOT, membership or MEMBERSHIP):
        for limit_file, used_file in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, used = _words(group / limit_file), _words(group / used_file)
            if limit and limit[0].isdecimal() and int(limit[0]) < NO_LIMIT:
                charged = int(used[0]) if used and used[0].isdecimal() else 0
                yield int(limit[0]), max(0, charged - _reclaimable(group))


def _groups(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """The folders that may hold a limit of this process: its group of each version, and every group above."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            trees = [root, root / "unified"]
        elif controller in controllers.split(","):
            trees = [root / controllers, root / controller]
        else:
            continue
        inside = PurePosixPath(path.strip().lstrip("/"))
        for tree in trees:
            for part in [inside, *inside.parents]:
                if ".." not in part.parts:  # a group outside this namespace
                    yield tree / part


def _reclaimable(group: Path) -> int:
    """Bytes charged to a group that only cache files, and that the kernel takes back on demand."""
    facts = _words(group / "memory.stat")
    values = dict(zip(facts[::2], facts[1::2], strict=False))
    text = values.get("total_inactive_file", values.get("inactive_file", "0"))  # version 1 counts the groups below apart
    return int(text) if text.isdecimal() else 0


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
