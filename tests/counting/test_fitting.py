"""The largest batch that fits: it and the next one were looked at, whatever the peak looks like."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epochwise.counting import count
from epochwise.counting.fitting import MOST, largest_batch


def looked_at(peak, memory, start=32):
    """The answer and the batches that were looked at."""
    seen = []

    def told(batch):
        seen.append(batch)
        return peak(batch)

    return largest_batch(told, memory, start), seen


def test_a_straight_line_takes_few_looks():
    """Start, a second point, the answer, the next one."""
    found, seen = looked_at(lambda batch: 1_000 + 7 * batch, 10**9)
    assert found.batch_size == (10**9 - 1_000) // 7
    assert (found.peak_bytes, found.next_peak_bytes) == (1_000 + 7 * found.batch_size, 1_007 + 7 * found.batch_size)
    assert len(seen) <= 4


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**6)), min_size=1, max_size=4),
    st.integers(1, 10**10),
    st.integers(1, 4096),
)
@example([(0, 1)], MOST + 1, 1)
def test_the_answer_fits_and_the_next_does_not(parts, memory, start):
    """The largest of several lines, from any start, against looking for it by bisection; nothing is looked at twice."""

    def peak(batch):
        return max(base + slope * batch for base, slope in parts)

    found, seen = looked_at(peak, memory, start)
    assert len(seen) == len(set(seen))
    if found.batch_size is None:
        assert peak(1) > memory
        assert found.peak_bytes == peak(1)
    else:
        assert found.batch_size == min(MOST, *((memory - base) // slope for base, slope in parts))
        assert peak(found.batch_size) <= memory
        assert found.batch_size == MOST or memory < peak(found.batch_size + 1)
        assert len(seen) < 45


@given(st.lists(st.integers(0, 100), min_size=40, max_size=40), st.integers(1, 100), st.integers(1, 40))
def test_a_peak_that_falls_again_is_no_trap(peaks, memory, start):
    """Steps, jumps, dips: still a batch that fits with a next one that does not."""

    def peak(batch):
        return peaks[batch - 1] if batch <= 40 else 1_000

    found, _ = looked_at(peak, memory, start)
    if found.batch_size is None:
        assert peak(1) > memory
    else:
        assert peak(found.batch_size) <= memory < peak(found.batch_size + 1)


def test_a_peak_that_does_not_grow():
    """Ends at the most that is tried, and says that the next one was not."""
    found, seen = looked_at(lambda batch: 5, 6)
    assert (found.batch_size, found.next_peak_bytes) == (MOST, None)
    assert len(seen) < 45


@pytest.mark.torch
def test_of_a_real_model():
    """The count of that batch has a peak within the memory, that of the next one over it."""
    torch = pytest.importorskip("torch")
    from epochwise.counting import peak_bytes

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    x, y = torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)
    found = largest_batch(lambda batch: peak_bytes(module, batch, x, y), 200_000, 8)
    assert count(module, found.batch_size, x, y).memory_bytes.peak == found.peak_bytes <= 200_000
    assert count(module, found.batch_size + 1, x, y).memory_bytes.peak == found.next_peak_bytes > 200_000
