"""The largest batch whose training step fits into a given memory, found by tracing steps of a few batch sizes.

The peak of a trace grows with the batch: each tensor either holds something for every sample or does not, so between changes
of the program (another algorithm, another broadcast) the peak is the largest of several straight lines. That is used to guess
where to look next and for nothing else: the answer is a batch that was traced and fits, with the next one traced and over.
"""

from __future__ import annotations

from collections.abc import Callable

from epochwise.counting.counts import LargestBatch

MOST = 2**30
"""Samples; where even these fit, the memory does not depend on the batch."""
_FEW = 8
"""Guesses along the line before the interval is halved instead."""


def largest_batch(peak_at: Callable[[int], int], memory_bytes: int, start: int = 32) -> LargestBatch:
    """The largest batch that fits: ``peak_at(batch) <= memory_bytes < peak_at(batch + 1)``, both traced.

    Args:
        peak_at: bytes alive at most in a step of so many samples, as ``memory_bytes.peak`` of a count.
        memory_bytes: what there is.
        start: the batch to begin with, at least 1.

    Returns:
        The batch with both peaks. Where the peak falls again with a larger batch there are several such batches, and this is
        one of them. A batch of :data:`MOST` samples is not exceeded.
    """
    peaks: dict[int, int] = {}

    def fits(batch: int) -> bool:
        peaks[batch] = peak_at(batch)
        return peaks[batch] <= memory_bytes

    low, high = 0, MOST + 1  # the answer is in [low, high): low fits, high does not
    batch = min(max(1, start), MOST)
    while high - low > 1:
        if fits(batch):
            low = batch
        else:
            high = batch
        batch = _next(peaks, low, high, memory_bytes)
    if low == 0:
        return LargestBatch(memory_bytes, None, peaks[1], None)
    return LargestBatch(memory_bytes, low, peaks[low], peaks.get(high))


def _next(peaks: dict[int, int], low: int, high: int, memory_bytes: int) -> int:
    """Where to look next, between ``low`` and ``high``: where the line through the last two peaks meets the memory."""
    if len(peaks) == 1:
        only = next(iter(peaks))
        guess = 2 * only if only == low else only // 2
    elif len(peaks) > _FEW:
        guess = (low + high) // 2 if high <= MOST else 2 * low
    else:
        (one, first), (two, second) = list(peaks.items())[-2:]
        slope = (second - first) / (two - one)
        guess = two + int((memory_bytes - second) // slope) if slope > 0 else 2 * two
    return min(max(guess, low + 1), high - 1)
