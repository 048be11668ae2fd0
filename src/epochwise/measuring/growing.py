"""Steps that grow slower while a model trains: whether they do, and why."""

from __future__ import annotations

from collections.abc import Sequence

from epochwise.measuring.measurement import Growth
from epochwise.measuring.statistics import growth

LEAST_GROWTH = 0.1
"""Of a step, sure by its interval; what drifts by less is left to the machine."""
ALIKE = 0.5
"""Another model that slows down by at least this part of it slows down alike."""
LEAST_DENORMALS = 1e-3
LEAST_MEMORY = 0.1
"""Of the process, by which it grew."""
MEGABYTE = 1e6


def growth_of(
    steps: Sequence[float], resident: Sequence[int], found: dict[str, float], others: Sequence[Sequence[float]]
) -> Growth | None:
    """Whether and why the steps of a model grow slower; ``None`` where they do not.

    Args:
        steps: seconds of a step, block by block.
        resident: size of the process after each block.
        found: what was found in the model afterwards; see :attr:`~epochwise.measuring.messages.Paused.found`.
        others: seconds of a step of the models that were measured in turn with this one, block by block.
    """
    seen = growth(steps)
    if seen.median < LEAST_GROWTH or seen.low <= 0:
        return None
    denormals = found.get("denormals", 0.0)
    cause, evidence = "unknown", "nothing was found that explains it: throttling of the processor, or the training itself"
    if denormals >= LEAST_DENORMALS:
        cause, evidence = "denormals", f"{denormals:.1%} of the weights have become denormal (below 1.2e-38)"
    elif any(growth(other).median >= ALIKE * seen.median for other in others):
        cause = "machine"
        evidence = "the other model, measured in turn, slows down alike: the machine throttles, or others use it"
    elif resident and resident[0] and resident[-1] >= (1 + LEAST_MEMORY) * resident[0]:
        cause = "memory"
        evidence = f"the process grew by {(resident[-1] - resident[0]) / MEGABYTE:,.0f} MB meanwhile: something is kept"
    return Growth(seen.median, seen.low, seen.high, cause, evidence)
