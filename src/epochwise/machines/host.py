"""Facts about this computer that the operating system tells: processor, cores, caches, memory. Nothing is measured here."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import psutil

from epochwise.machines import limits
from epochwise.machines.machine import SCHEMA, Cache

CPUINFO = Path("/proc/cpuinfo")
CPUS = Path("/sys/devices/system/cpu")

KERNELS_VERSION = 1
"""Raise it when the way of measuring changes: what was kept before is then measured again."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the operating system tells about this computer and what this process may use of it.

    Attributes:
        name: the processor's own name.
        cores: logical processors that this process may use at the same time, at least 1.
        quota: processors' worth of time that a cgroup grants, ``None`` without a limit; 1.5 gives 2 ``cores``.
        caches: data and unified caches; empty where the system does not tell.
        memory_bytes: main memory, or the cgroup's limit where that is less.
        fingerprint: a hash of everything that a measurement depends on.
    """

    name: str
    cores: int
    quota: float | None
    caches: tuple[Cache, ...]
    memory_bytes: int
    fingerprint: str

    @property
    def share(self) -> float:
        """The share of time that the quota leaves to each of ``cores``: 1 without a quota, 0.75 for 1.5 on 2 cores."""
        return 1.0 if self.quota is None else min(1.0, self.quota / self.cores)


def host() -> Host:
    """Look at this computer."""
    name, model = processor()
    allowed = affinity()
    quota = limits.cpu_quota()
    cores = allowed if quota is None else max(1, min(allowed, math.ceil(quota)))
    found = caches()
    limit = limits.memory_limit()
    memory = psutil.virtual_memory().total if limit is None else min(limit, psutil.virtual_memory().total)
    depends_on = {
        "schema": SCHEMA,
        "kernels": KERNELS_VERSION,
        "processor": [name, model, platform.machine()],
        "cores": [cores, quota],
        "caches": msgspec.to_builtins(found),
        # A kernel's update moves the total by some pages.
        "memory_gib": round(memory / 2**30),
        "libraries": {package: metadata.version(package) for package in ("numba", "numpy")},
    }
    return Host(name=name, cores=cores, quota=quota, caches=found, memory_bytes=memory, fingerprint=fingerprint_of(depends_on))


def fingerprint_of(facts: dict[str, Any]) -> str:
    """16 hexadecimal digits that stand for these facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def affinity() -> int:
    """Logical processors that the scheduler may run this process on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1  # macOS has no affinity


def processor(cpuinfo: Path | None = None) -> tuple[str, str]:
    """The processor's name, and what tells it from others of that name (family, model, stepping; may be empty)."""
    try:
        lines = (cpuinfo or CPUINFO).read_text(errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    facts = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or facts.get("hardware") or platform.processor() or platform.machine() or "unknown processor"
    # x86 has the first three, ARM the last three.
    keys = ("cpu family", "model", "stepping", "cpu implementer", "cpu part", "cpu variant")
    return " ".join(name.split()), "/".join(facts[key] for key in keys if key in facts)


def caches(cpus: Path | None = None) -> tuple[Cache, ...]:
    """Data and unified caches of the first processor that Linux describes, in order of level; empty elsewhere."""
    found: dict[int, Cache] = {}
    for index in sorted((cpus or CPUS).glob("cpu0/cache/index*")):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            level = int((index / "level").read_text())
            size = parse_size((index / "size").read_text())
            sharers = count_cpus((index / "shared_cpu_list").read_text())
        except (OSError, ValueError):
            continue
        found[level] = Cache(level=level, bytes=size, cores=sharers)
    return tuple(found[level] for level in sorted(found))


def parse_size(text: str) -> int:
    """Bytes of a size as the kernel writes it: ``32K``, ``1024K``, ``32M``.

    Raises:
        ValueError: anything else.
    """
    text = text.strip()
    factor = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
    return int(text if factor == 1 else text[:-1]) * factor


def count_cpus(text: str) -> int:
    """How many processors a list such as ``0-3,8,10-11`` names.

    Raises:
        ValueError: not such a list, or an empty one.
    """
    total = 0
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total
