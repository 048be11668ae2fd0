"""What the rules look at: one model's counts and measurement, and the few figures that several of them need."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from epochwise.counting.counts import Counts
from epochwise.explaining.accounts import Place
from epochwise.explaining.attribution import Attribution
from epochwise.explaining.explanation import Part
from epochwise.explaining.roofline import FLOPS_PER_MAC, work_seconds
from epochwise.machines.machine import Machine
from epochwise.measuring.measurement import DISPATCH, KernelTime, ModelMeasurement, Probe
from epochwise.tracing.recorder import OPTIMIZER

UPDATE = "update"
PHASES = ("forward", "backward", UPDATE)

MOVES = frozenset(
    {
        *("aten::copy_", "aten::cat", "aten::contiguous", "aten::_to_copy"),
        *("Cast", "Transpose", "ConcatV2", "Pack", "Tile", "_MklToTf", "_MklConcatV2", "_MklTranspose"),
    }
)
"""Kernels of PyTorch and TensorFlow that compute nothing: they copy, convert or join."""
MOVES_IN_XLA = frozenset({"wrapped", "copy", "transpose", "bitcast", "convert", "concatenate", "slice", "reshape", "fusion"})
"""Words of the names of XLA's kernels that compute nothing."""
PYTHON = frozenset(["PyFunc", "EagerPyFunc", "PyFuncStateless", "NumpyFunction"])
"""TensorFlow's operations that call Python."""
PYTHON_IN_XLA = re.compile(r"callback")
TRANSFERS = re.compile(r"memcpy\s*(htod|dtoh|h2d|d2h)", re.IGNORECASE)
"""Copies between main memory and a device."""


class Case(NamedTuple):
    """One model, as the rules see it.

    Attributes:
        counts: of its training step.
        measured: its part of a measurement.
        machine: what it was measured on.
        split: the epoch, split into what can be told apart.
        parts: where the epoch goes.
    """

    counts: Counts
    measured: ModelMeasurement
    machine: Machine
    split: Attribution
    parts: tuple[Part, ...]

    @property
    def epoch(self) -> float:
        """Seconds of an epoch."""
        return self.measured.epoch_seconds.median

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.measured.steps_per_epoch

    def work(self) -> Iterator[tuple[str, str, bool, float, float]]:
        """Layer, phase, whether it has MACs, and the seconds of an epoch for its arithmetic and at the roofline."""
        steps = self.measured.samples / self.counts.batch_size
        for row in self.counts.layers:
            for phase in PHASES:
                work = getattr(row, phase)
                least = steps * work_seconds(work, self.machine)
                if least:
                    macs = 0 if phase == UPDATE else work.macs  # an optimizer's products are no training MACs
                    yield row.name, phase, bool(macs), steps * FLOPS_PER_MAC * macs / self.machine.peak, least

    @staticmethod
    def place_of_work(layer: str, phase: str) -> str:
        """Where the profile puts the work of a layer: the update of all weights is one place."""
        return OPTIMIZER if phase == UPDATE else layer

    @property
    def kernels(self) -> tuple[KernelTime, ...]:
        """What the profiler saw; empty without a profile."""
        return self.measured.profile.kernels if self.measured.profile else ()

    def kernel_seconds(self, kernel: KernelTime) -> float:
        """Seconds of an epoch that a kernel takes."""
        return kernel.seconds_per_step * self.split.scale

    def dispatch_by_layer(self) -> dict[Place, float]:
        """Time without a kernel by the layer whose code the host was in, as far as the profile tells."""
        dispatch, profile = self.split.dispatch or 0.0, self.measured.profile
        found: defaultdict[Place, float] = defaultdict(float)
        for idle in profile.idle if profile else ():
            if idle.place == DISPATCH:
                found[idle.layer, idle.phase] += idle.seconds_per_step
        total = math.fsum(found.values())
        if not total:
            return {(None, None): dispatch}
        return {place: dispatch * seconds / total for place, seconds in found.items()}

    def probe(self, name: str) -> Probe | None:
        """What a probe found, ``None`` if it was not made."""
        return next((probe for probe in self.measured.probes if probe.name == name), None)


def only_moves(kernel: KernelTime) -> bool:
    """Whether a kernel computes nothing: it copies, converts or joins."""
    if kernel.name in MOVES:
        return True
    words = set(re.split(r"[_.]", kernel.name))
    words = {word for word in words if not word.isdigit()}
    return bool(words - {"wrapped", "fusion", "bitcast", "reshape"}) and words <= MOVES_IN_XLA


def calls_python(kernel: KernelTime) -> bool:
    """Whether a kernel calls back into Python."""
    return kernel.name in PYTHON or bool(PYTHON_IN_XLA.search(kernel.name))


def transfers(kernel: KernelTime) -> bool:
    """Whether a kernel copies between main memory and a device."""
    return bool(TRANSFERS.search(kernel.name))
