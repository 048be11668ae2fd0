"""Counts of a model of whose work nothing is known."""

from __future__ import annotations

from epochwise.counting.counts import Counts, MemoryBytes, Parameters, PerSample


def no_counts(name: str, backend: str, batch_size: int = 1) -> Counts:
    """Counts with nothing in them: what work there is was not looked at."""
    return Counts(
        name=name,
        backend=backend,
        batch_size=batch_size,
        parameters=Parameters(0, 0),
        per_sample=PerSample(0, 0, 0, 0, 0),
        layers=(),
        memory_bytes=MemoryBytes(0, 0, 0, 0, 0),
        notes=("The work of this loop was not counted, so there is no best possible time to hold against it.",),
    )
