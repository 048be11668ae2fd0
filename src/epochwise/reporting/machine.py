"""Draws a :class:`~epochwise.machines.machine.Machine` for the terminal: facts, bandwidth per working set, ridge points."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from epochwise.machines.machine import Cache, Machine

BAR_COLUMNS = 24
EIGHTHS = " ▏▎▍▌▋▊▉"
KIB, MIB, GIB = 2**10, 2**20, 2**30


def view(machine: Machine) -> RenderableType:
    """The whole machine, at most 80 columns wide. The ridge point is the FLOPs per byte above which arithmetic is the limit."""
    parts: list[RenderableType] = [_facts(machine), Text(""), _bandwidth(machine), Text("")]
    parts.append(
        Text(
            "Ridge: FLOPs per byte moved above which the peak is the limit, and below which the bandwidth is. "
            f"With data from memory it is {_ridge(machine, machine.bandwidth[-1].bytes_per_second)} here."
        )
    )
    if machine.notes:
        parts.append(Text("\nNotes", style="bold"))
        parts += [Padding(Text(note), (0, 0, 0, 2)) for note in machine.notes]
    return Group(*parts)


def _facts(machine: Machine) -> Table:
    peak = machine.peak_flops_per_second
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    where = machine.name if machine.device == "cpu" else f"{machine.name} ({machine.device})"
    table.add_row("machine", where)
    if machine.device == "cpu":
        table.add_row("cores", str(machine.cores))
        table.add_row("peak, 1 core", f"{peak.one_core / 1e9:,.1f} GFLOP/s float32")
        table.add_row("peak, all cores", f"{peak.all_cores / 1e9:,.1f} GFLOP/s float32 (repeats spread by {peak.spread:.1%})")
        table.add_row("caches", ", ".join(_cache(cache) for cache in machine.caches) or "not told by the system")
    else:
        table.add_row("peak", f"{peak.all_cores / 1e9:,.1f} GFLOP/s float32 (repeats spread by {peak.spread:.1%})")
    table.add_row("memory", f"{machine.memory_bytes / GIB:,.1f} GiB")
    table.add_row("measured", f"{machine.measured_at}, in {machine.measuring_seconds:.1f} s")
    return table


def _bandwidth(machine: Machine) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("working set", justify="right", no_wrap=True)
    if machine.caches:
        table.add_column("fits", no_wrap=True)
    table.add_column("GB/s", justify="right", no_wrap=True)
    table.add_column("bandwidth, read and written", no_wrap=True)
    table.add_column("ridge", justify="right", no_wrap=True)
    most = max(point.bytes_per_second for point in machine.bandwidth)
    for point in machine.bandwidth:
        rate = point.bytes_per_second
        fits = [level(machine, point.working_set_bytes)] if machine.caches else []
        table.add_row(_size(point.working_set_bytes), *fits, f"{rate / 1e9:,.1f}", bar(rate / most), _ridge(machine, rate))
    return table


def level(machine: Machine, working_set_bytes: int) -> str:
    """The nearest cache that holds a working set spread over all cores: ``L1`` ... ``L3``, or ``memory``."""
    for cache in machine.caches:
        instances = -(-machine.cores // cache.cores)
        if working_set_bytes <= cache.bytes * instances:
            return f"L{cache.level}"
    return "memory"


def bar(share: float, columns: int = BAR_COLUMNS) -> str:
    """A bar of block characters, to an eighth of a column; ``share`` is 0 to 1."""
    eighths = round(min(1.0, max(0.0, share)) * columns * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def _ridge(machine: Machine, bytes_per_second: float) -> str:
    return f"{machine.peak / bytes_per_second:.2f}"


def _cache(cache: Cache) -> str:
    return f"L{cache.level} {_size(cache.bytes)} " + ("per core" if cache.cores == 1 else f"per {cache.cores} cores")


def _size(size: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}" if size % unit else f"{size // unit} {name}"
    return f"{size} B"
