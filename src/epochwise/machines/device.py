"""Measures an accelerator through a framework; what a framework does is handed in, so that all of them share one routine.

It was exercised on the frameworks' CPU devices only: no accelerator was at hand. What that leaves open is whether an
accelerator's figures reach its data sheet, not whether the routine works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from epochwise.machines.host import KERNELS_VERSION, fingerprint_of
from epochwise.machines.machine import SCHEMA, BandwidthPoint, Machine, Peak
from epochwise.machines.measure import Progress, kept_or, now
from epochwise.machines.timing import Rates, calibrate, rates

FLOAT_BYTES = 4
MATRIX_SIDES = (1024, 2048, 4096, 8192)
WORKING_SETS = tuple(2**power for power in range(16, 31))
MEMORY_SHARE = 0.125
"""Of the device's memory: an update may need as much again for its result."""
LONGEST_PRODUCT_SECONDS = 0.3

Runner = Callable[[int], None]
"""Enqueues its work so many times, then waits until the device has done it."""


class Probe(Protocol):
    """A framework's side of measuring one device.

    Attributes:
        framework: name and version, ``torch 2.6.0``.
        name: the device's own name, ``NVIDIA A100-SXM4-40GB``.
        device: the framework's name of it, ``cuda:0``.
        memory_bytes: the device's memory.
        precision: one sentence: how the framework multiplies float32 by default here.
    """

    framework: str
    name: str
    device: str
    memory_bytes: int
    precision: str

    def product(self, side: int) -> Runner:
        """The float32 product of two square matrices, allocated on the device."""
        ...

    def update(self, elements: int) -> Runner:
        """Reads and writes every element of a float32 array on the device, one kernel each time."""
        ...


def device_machine(probe: Probe, refresh: bool = False, progress: Progress | None = None) -> Machine:
    """What this device can do at best, through this framework: measured on the first call, kept and re-used like a processor's.

    Args:
        probe: the framework's side.
        refresh: measure again and keep that.
        progress: called as ``progress(done, total, text)`` while measuring.
    """
    fingerprint = fingerprint_of(
        {
            "schema": SCHEMA,
            "kernels": KERNELS_VERSION,
            "probe": [probe.framework, probe.name, probe.device, probe.memory_bytes, probe.precision],
        }
    )
    return kept_or(fingerprint, refresh, lambda: (measure_device(probe, fingerprint, progress), True))


def measure_device(
    probe: Probe,
    fingerprint: str = "",
    progress: Progress | None = None,
    sides: tuple[int, ...] = MATRIX_SIDES,
    working_sets: tuple[int, ...] = WORKING_SETS,
) -> Machine:
    """Measure a device now.

    Peak: the best over square matrix products with the framework's default precision, the one that its training uses.
    Bandwidth: an element-wise update in place, 8 bytes moved per 4 held. Where arrays are small, starting a kernel takes longer
    than running it, which is not bandwidth: so no point is given less than the points of larger working sets.
    """
    begin = time.perf_counter()
    sizes = [size for size in working_sets if size <= probe.memory_bytes * MEMORY_SHARE] or [working_sets[0]]
    done = iter(range(len(sides) + len(sizes) + 1))

    def step(text: str) -> None:
        if progress:
            progress(next(done), len(sides) + len(sizes), text)

    products: list[Rates] = []
    for side in sides:
        step(f"product of {side} x {side} matrices on {probe.device}")
        flops = 2.0 * side**3
        if products and flops / products[-1].best > LONGEST_PRODUCT_SECONDS:
            continue
        products.append(_rates(probe.product(side), flops))
    best = max(products, key=lambda found: found.best)
    updates: list[float] = []
    for size in sizes:
        step(f"bandwidth over {size // 2**10} KiB on {probe.device}")
        updates.append(_rates(probe.update(size // FLOAT_BYTES), 2.0 * size).best)
    reached = [max(updates[place:]) for place in range(len(updates))]
    step("measured")
    return Machine(
        name=probe.name,
        device=probe.device,
        cores=1,
        caches=(),
        memory_bytes=probe.memory_bytes,
        peak_flops_per_second=Peak(one_core=best.best, all_cores=best.best, spread=best.spread),
        bandwidth=tuple(
            BandwidthPoint(working_set_bytes=size, bytes_per_second=rate) for size, rate in zip(sizes, reached, strict=True)
        ),
        measured_at=now(),
        measuring_seconds=time.perf_counter() - begin,
        fingerprint=fingerprint,
        notes=(f"Measured through {probe.framework}.", probe.precision),
    )


def _rates(run: Runner, work: float) -> Rates:
    """Work per second, where one run is ``work``; the first run, which compiles and warms up, apart."""

    def seconds(times: int) -> float:
        begin = time.perf_counter()
        run(times)
        return time.perf_counter() - begin

    seconds(1)
    times = calibrate(seconds)
    return rates(partial(seconds, times), work * times)
