"""Measures the processor: peak float32 FLOP/s and bandwidth over working-set size. Imports Numba; import late.

What the peaks are: the best that this process can have, all its cores at work. A quota of processor time is spent in bursts and
then waited for, so bursts are what can be measured; the figures for all cores are scaled to the share that the quota grants.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import threadpoolctl

from epochwise.machines import kernels, limits
from epochwise.machines.host import Host, affinity
from epochwise.machines.load import lacking
from epochwise.machines.machine import BandwidthPoint, Peak
from epochwise.machines.timing import TARGET_SECONDS, Crew, Rates, calibrate, rates

KIB, MIB, GIB = 2**10, 2**20, 2**30
SMALLEST_BYTES = 16 * KIB
SMALLEST_BYTES_PER_CORE = 4 * KIB
"""Below this the loop around a kernel costs as much as the kernel."""
LARGEST_BYTES = 256 * MIB, 1 * GIB
LAST_CACHE_TIMES = 4
FREE_MEMORY_SHARE = 0.25

BYTES_HELD, BYTES_MOVED = 8, 12
"""Per element of the triad: x and y are held; x and y are read and y is written."""
LINE_FLOATS, PAGE_FLOATS = 16, 1024
GAP_FLOATS = 768
"""From a page's start to where y begins. A load whose address equals that of a recent store in its last 12 bits waits for it on
many processors: x is read that far, more than a store queue, ahead of where y was written."""

DISTURBED_SHARE, USELESS_SHARE = 0.10, 0.25
"""Of our cores, taken by others: from the first on it is noted, from the second on the figures are not kept."""
DISTURBED_SPREAD = 0.10

Step = Callable[[str], None]
"""Called with what is being measured, once before each piece."""


def pieces(host: Host) -> int:
    """How often :func:`peak` and :func:`bandwidth` together call their ``step``."""
    return 2 + len(working_sets(host))


def peak(host: Host, crew: Crew, step: Step) -> tuple[Peak, list[str]]:
    """Peak float32 FLOP/s of one core and of all cores, and notes.

    It is the better of two: independent chains of fused multiply-adds held in registers, at every vector length that the
    processor has, and NumPy's matrix product, since a BLAS may use units that compiled Python cannot reach (matrix extensions,
    wider vectors).
    """
    step("peak of one core")
    with Crew(1) as alone:
        one = [_chains(alone, length) for length in kernels.vector_lengths()]
    one_matrix = _matrix_product(1, max(rate.best for rate in one))
    step("peak of all cores")
    many = [_chains(crew, length) for length in kernels.vector_lengths()] if crew.cores > 1 else []
    many_matrix = _matrix_product(crew.cores, max(rate.best for rate in many)) if many else None
    best_one = max((rate for rate in [*one, one_matrix] if rate), key=lambda rate: rate.best)
    best_many = max((rate for rate in [*many, many_matrix] if rate), key=lambda rate: rate.best, default=best_one)
    one_core = best_one.best * min(1.0, host.quota or 1.0)
    # What one core does all cores can do: a disturbed run on all of them must not contradict it.
    all_cores = max(best_many.best * host.share, one_core)
    found = Peak(one_core=one_core, all_cores=all_cores, spread=best_many.spread)
    notes = []
    if crew.cores > 1 and best_many.best < 1.2 * best_one.best:
        notes.append("All cores together were hardly faster than one: other load, or cores that share one unit.")
    if found.spread > DISTURBED_SPREAD:
        notes.append(f"Repeats of the peak spread by {found.spread:.0%}: the figure may be too low.")
    return found, notes


def _chains(crew: Crew, length: int) -> Rates:
    """FLOP/s of fused multiply-adds on vectors of ``length`` floats, all the crew's cores together."""

    def seconds(steps: int) -> float:
        # 0.999 x + 0.001 tends to 1: no overflow, no denormals.
        return crew.seconds([partial(kernels.multiply_add, length, steps, 0.999, 0.001)] * crew.cores)

    kernels.multiply_add(length, 1, 0.999, 0.001)  # compile, or load
    steps = calibrate(seconds, 10_000)
    return rates(partial(seconds, steps), kernels.multiply_add_flops(length, steps) * crew.cores)


def _matrix_product(cores: int, expected: float) -> Rates | None:
    """FLOP/s of NumPy's float32 matrix product on so many cores; ``None`` where its threads cannot be set.

    ``expected`` FLOP/s choose the size: as large as about two repeats' time allows.
    """
    libraries = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    if cores == 1 and not libraries:
        return None
    side = int(np.clip(round((expected * TARGET_SECONDS) ** (1 / 3) / 64) * 64, 256, 4096))
    a = np.full((side, side), 0.5, np.float32)
    b = np.full((side, side), 0.25, np.float32)
    result = np.empty_like(a)
    with threadpoolctl.threadpool_limits(limits=cores, user_api="blas"), Crew(1) as alone:
        product: Callable[[], object] = partial(np.matmul, a, b, out=result)
        alone.seconds([product])
        return rates(partial(alone.seconds, [product]), 2 * side**3)


def working_sets(host: Host) -> tuple[int, ...]:
    """Working sets to measure, in bytes of all arrays of all cores: powers of two, 16 KiB to beyond the last cache."""
    last = host.caches[-1] if host.caches else None
    instances = -(-host.cores // last.cores) if last else 0
    beyond = LAST_CACHE_TIMES * last.bytes * instances if last else 0
    largest = min(max(LARGEST_BYTES[0], beyond), LARGEST_BYTES[1], int(limits.memory_available() * FREE_MEMORY_SHARE))
    size = SMALLEST_BYTES
    while size < SMALLEST_BYTES_PER_CORE * host.cores:
        size *= 2
    sizes = [size]
    while sizes[-1] * 2 <= largest:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes)


def bandwidth(host: Host, crew: Crew, step: Step) -> tuple[tuple[BandwidthPoint, ...], list[str]]:
    """Bytes read and written per second over working-set size, all cores together, and notes.

    The kernel does what a layer does: ``y += a * x``, reading x and y and writing y. Each core has arrays of its own; a working
    set is the bytes of all of them together, so that on two cores 32 KiB are 16 KiB in each core's first cache.
    """
    sizes = working_sets(host)
    most = sizes[-1] // (BYTES_HELD * crew.cores)
    blocks: dict[int, Any] = {}

    def allocate(core: int) -> None:
        # Written first by the thread that will use it: on several memory nodes that places it near.
        block = np.ones(2 * most + PAGE_FLOATS + GAP_FLOATS + LINE_FLOATS, np.float32)
        blocks[core] = block[-(block.ctypes.data // block.itemsize) % LINE_FLOATS :]  # from the start of a cache line

    crew.seconds([partial(allocate, core) for core in range(crew.cores)])
    kernels.triad(0.0, *_slices(blocks[0], LINE_FLOATS), 1)  # compile, or load
    points, disturbed = [], []
    times = 16
    for size in sizes:
        step(f"bandwidth over {readable(size)}")
        elements = size // (BYTES_HELD * crew.cores)
        views = [_slices(block, elements) for block in blocks.values()]

        def seconds(repeats: int, views: list[tuple[Any, Any]] = views) -> float:
            # Adding 1e-7 to numbers near 1: no overflow, no denormals.
            return crew.seconds([partial(kernels.triad, 1e-7, x, y, repeats) for x, y in views])

        times = calibrate(seconds, max(1, times // 4))
        measured = rates(partial(seconds, times), BYTES_MOVED * elements * crew.cores * times)
        points.append(BandwidthPoint(working_set_bytes=size, bytes_per_second=measured.best * host.share))
        if measured.spread > DISTURBED_SPREAD:
            disturbed.append(readable(size))
    notes = []
    if disturbed:
        notes.append(f"Repeats of the bandwidth spread by more than {DISTURBED_SPREAD:.0%} at {', '.join(disturbed)}.")
    return tuple(points), notes


def _slices(block: Any, elements: int) -> tuple[Any, Any]:
    """Arrays x and y of so many elements each, side by side in one block."""
    second = -(-elements // PAGE_FLOATS) * PAGE_FLOATS + GAP_FLOATS
    return block[:elements], block[second : second + elements]


def surroundings(host: Host, others: float) -> tuple[list[str], bool]:
    """Notes on what limited or disturbed this process, and whether it was quiet enough for the figures to be kept.

    ``others``: how many of the computer's processors others kept busy meanwhile.
    """
    notes = []
    present, allowed = os.cpu_count() or 1, affinity()
    if allowed < present:
        notes.append(f"This process may run on {allowed} of the computer's {present} processors.")
    if host.quota is not None and host.quota < allowed:
        notes.append(f"A control group grants {host.quota:.3g} processors' worth of time; all-core figures are scaled to it.")
    missing = lacking(others, host.cores)
    quiet = missing < USELESS_SHARE
    if missing >= DISTURBED_SHARE:
        what = "figures may be too low" if quiet else "figures are too low, and are not kept"
        notes.append(f"Others kept {others:.1f} of the computer's {present} processors busy meanwhile: {what}.")
    return notes, quiet


def readable(size: int) -> str:
    """Bytes in the largest unit that divides them: ``16 KiB``, ``256 MiB``."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"
