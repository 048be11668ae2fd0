"""A ring all-reduce over sockets: how data-parallel training adds up the gradients of its workers.

Each of N workers holds a vector, cut into N chunks. For N - 1 rounds each sends one chunk on and adds what it gets to its own,
after which each chunk is complete somewhere; for N - 1 more rounds the complete chunks go round. So each worker sends
``2 (N - 1) / N`` times the bytes of the vector, whatever N (Patarasuk and Yuan 2009). Imports nothing but NumPy, so that a
worker starts quickly.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WORKERS = 2
_REPEATS, _OF_SHORT, _SHORT = 3, 30, 1_000_000
_TIMEOUT = 60.0
_LOOPBACK = "127.0.0.1"


def bytes_sent(vector_bytes: int, workers: int) -> float:
    """What each worker of a ring sends to exchange vectors of so many bytes."""
    return 2 * (workers - 1) / workers * vector_bytes


def all_reduce(
    vector: NDArray[np.float32], rank: int, workers: int, to_next: socket.socket, from_previous: socket.socket
) -> int:
    """Replace a vector by the sum over all workers, in place.

    Args:
        vector: of this worker; all have the same length.
        rank: of this worker, from 0.
        workers: in the ring.
        to_next: connected with the next worker.
        from_previous: connected with the one before.

    Returns:
        Bytes that this worker sent.
    """
    edges = [len(vector) * place // workers for place in range(workers + 1)]
    chunks = [vector[first:last] for first, last in itertools.pairwise(edges)]
    room = np.empty(max(len(chunk) for chunk in chunks), np.float32)
    sent = 0
    for turn in range(2 * (workers - 1)):
        adding = turn < workers - 1
        outgoing = chunks[(rank - turn + (0 if adding else workers)) % workers]
        incoming = chunks[(rank - turn - 1) % workers]
        # Both at once: two workers that first sent would wait for each other as soon as the buffers are full.
        sender = threading.Thread(target=to_next.sendall, args=(_bytes(outgoing),))
        sender.start()
        received = room[: len(incoming)] if adding else incoming
        _receive(from_previous, _bytes(received))
        sender.join()
        sent += outgoing.nbytes
        if adding:
            incoming += received
    return sent


def measured(sizes: Sequence[int]) -> tuple[list[float], list[int]]:
    """Seconds and bytes of an all-reduce between two processes of this machine, over its loopback.

    Args:
        sizes: numbers in the vector, float32 each.

    Returns:
        The shortest of some exchanges of each size in seconds, since others may be busy on this machine; and the bytes that a
        worker sent in one.

    Raises:
        OSError: the other process could not be started or went away.
    """
    with socket.create_server((_LOOPBACK, 0)) as server:
        server.settimeout(_TIMEOUT)
        port = server.getsockname()[1]
        plan = ",".join(map(str, sizes))
        command = [sys.executable, "-m", "epochwise.experiments.exchange.ring", str(port), plan]
        with subprocess.Popen(command) as other:
            try:
                connection, _ = server.accept()
                with connection:
                    return _timed(connection, 0, sizes)
            finally:
                other.kill()


def _timed(connection: socket.socket, rank: int, sizes: Sequence[int]) -> tuple[list[float], list[int]]:
    connection.settimeout(_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    seconds, sent = [], []
    for size in sizes:
        vector = np.full(size, float(rank + 1), np.float32)
        taken = []
        for _ in range(1 + (_OF_SHORT if size < _SHORT else _REPEATS)):
            start = time.perf_counter()
            count = all_reduce(vector, rank, WORKERS, connection, connection)
            taken.append(time.perf_counter() - start)
        seconds.append(min(taken[1:]))
        sent.append(count)
    return seconds, sent


def _bytes(array: NDArray[np.float32]) -> memoryview:
    """The array's own memory."""
    return array.view(np.uint8).data


def _receive(connection: socket.socket, into: memoryview) -> None:
    done = 0
    while done < len(into):
        count = connection.recv_into(into[done:])
        if not count:
            raise ConnectionError("the other worker of the ring went away")
        done += count


def main(arguments: Sequence[str]) -> None:
    """Be the second worker: ``port sizes``."""
    port, plan = arguments
    with socket.create_connection((_LOOPBACK, int(port)), timeout=_TIMEOUT) as connection:
        _timed(connection, 1, [int(size) for size in plan.split(",")])


if __name__ == "__main__":
    main(sys.argv[1:])
