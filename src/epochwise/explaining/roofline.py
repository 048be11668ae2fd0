"""The least time that a model's epoch can take on a machine."""

from __future__ import annotations

from epochwise.counting.counts import Counts, LayerCounts, Work
from epochwise.machines.machine import Machine

FLOPS_PER_MAC = 2


def epoch_flops(counts: Counts, samples: int) -> float:
    """FLOPs of an epoch: 2 for each training MAC, the work that a peak FLOP/s is about."""
    return float(FLOPS_PER_MAC * counts.per_sample.training_macs * samples)


def arithmetic_seconds(counts: Counts, samples: int, machine: Machine) -> float:
    """Seconds of an epoch if nothing but multiply-accumulates were done, at peak."""
    return epoch_flops(counts, samples) / machine.peak


def roofline_seconds(counts: Counts, samples: int, machine: Machine) -> float:
    """Seconds of an epoch if every layer and phase ran at the roofline (Williams, Waterman, Patterson 2009).

    That is the sum over layers and phases of max(FLOPs / peak, bytes / bandwidth), with the bandwidth of the cache level that
    holds what the layer touches.
    """
    steps = samples / counts.batch_size
    return steps * sum(layer_seconds(layer, machine) for layer in counts.layers)


def layer_seconds(layer: LayerCounts, machine: Machine) -> float:
    """Roofline seconds of one layer in one step, all phases."""
    return sum(work_seconds(work, machine) for work in (layer.forward, layer.backward, layer.update))


def work_seconds(work: Work, machine: Machine) -> float:
    """Roofline seconds of one layer in one phase of one step."""
    arithmetic = FLOPS_PER_MAC * work.macs / machine.peak
    memory = work.bytes / machine.bandwidth_at(work.bytes) if work.bytes else 0.0
    return max(arithmetic, memory)
