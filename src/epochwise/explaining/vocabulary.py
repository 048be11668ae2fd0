"""The causes that an explanation may name."""

from __future__ import annotations

from epochwise.measuring.measurement import INPUT, TURN

ARITHMETIC = "arithmetic"
MEMORY = "memory traffic"
KERNELS = "kernel path"
OVERHEAD = "per-step overhead"
KERNELS_OR_OVERHEAD = "kernel path or per-step overhead"
STEPS = "number of steps"
SWEEP = "optimizer sweep"
LOWERING = "lowering"
CALLBACKS = "callbacks and validation"
COMPILATION = "compilation"
THREADS = "threads"
DENORMALS = "denormals"
TRANSFER = "device transfer"

HIGH, MEDIUM, LOW = "high", "medium", "low"
"""How sure a cause is: timed directly or taken away; from the profile or a roofline; what is left when all else is known."""

__all__ = [
    "ARITHMETIC",
    "CALLBACKS",
    "COMPILATION",
    "DENORMALS",
    "HIGH",
    "INPUT",
    "KERNELS",
    "KERNELS_OR_OVERHEAD",
    "LOW",
    "LOWERING",
    "MEDIUM",
    "MEMORY",
    "OVERHEAD",
    "STEPS",
    "SWEEP",
    "THREADS",
    "TRANSFER",
    "TURN",
]
