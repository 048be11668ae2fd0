"""The ring all-reduce: exact sums, and exactly the bytes that the formula says."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from epochwise.experiments.exchange import ring


@pytest.mark.parametrize("workers", [2, 3, 5])
@pytest.mark.parametrize("length", [1, 60, 200_003])
def test_all_workers_end_with_the_sum(workers, length):
    """Of whole numbers it is exact; vectors that do not come out even, or are shorter than the ring, too."""
    vectors = [np.random.default_rng(rank).integers(0, 100, length).astype(np.float32) for rank in range(workers)]
    expected = np.sum(vectors, axis=0)
    pairs = [socket.socketpair() for _ in range(workers)]  # pair r leads from worker r to the next
    sent = [0] * workers

    def work(rank: int) -> None:
        sent[rank] = ring.all_reduce(vectors[rank], rank, workers, pairs[rank][0], pairs[rank - 1][1])

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for pair in pairs:
        for end in pair:
            end.close()
    assert all(np.array_equal(vector, expected) for vector in vectors)
    assert sum(sent) == 2 * (workers - 1) * 4 * length
    if length % workers == 0:
        assert set(sent) == {ring.bytes_sent(4 * length, workers)}


def test_two_processes_send_what_the_formula_says():
    """Over the loopback of this machine, and longer vectors take longer by far."""
    seconds, sent = ring.measured([1000, 4_000_000])
    assert sent == [4000, 16_000_000]
    assert seconds[1] > seconds[0] > 0
