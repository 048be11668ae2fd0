"""A plan: which kernels run in which order on which arrays. Made by ``planner.py``, run by ``crew.py``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.code import Call, Variant
from epochwise.engine.network import Float32
from epochwise.engine.workers import Workers

ALIGNMENT = 64
"""Bytes of a cache line, and of the widest vector."""


def floats(*shape: int) -> Float32:
    """Zeros that begin on a cache line, with room for a vector behind them: the last number may be read with what follows."""
    count = int(np.prod(shape))
    raw = np.zeros(4 * count + 2 * ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + 4 * count].view(np.float32).reshape(shape)


@dataclass(frozen=True, slots=True)
class Part:
    """Calls that follow one another.

    Attributes:
        calls: in their order.
        group: samples that go through all of them at a time; 0 where they are over slices.
        wait: whether all threads wait for each other afterwards.
    """

    calls: tuple[Call, ...]
    group: int
    wait: bool = False


@dataclass(slots=True)
class Program:
    """Parts as the machine reads them.

    Attributes:
        stretches, parts, calls: tables of words, see ``kernels/course.py``.
        arguments: those of each call.
        planned: what ``arguments`` points to, kept alive.
        workers: how many threads run it.
    """

    stretches: NDArray[np.int64]
    parts: NDArray[np.int64]
    calls: NDArray[np.int64]
    arguments: list[NDArray[np.int64]]
    planned: list[Call]
    workers: Workers


def program(planned: list[Part], addresses: dict[Variant, int], threads: int) -> Program:
    """Tables for these parts, with the addresses of their kernels, for a step of so many shares."""
    listed = [call for part in planned for call in part.calls]
    arguments = [call.words() for call in listed]
    calls = np.array(
        [
            (addresses[call.variant], words.ctypes.data, call.items, call.unit)
            for call, words in zip(listed, arguments, strict=True)
        ],
        np.int64,
    )
    ends = np.cumsum([len(part.calls) for part in planned])
    parts = np.array([(end - len(part.calls), end, part.group, 0) for part, end in zip(planned, ends, strict=True)], np.int64)
    waits = [number for number, part in enumerate(planned, start=1) if part.wait]
    stretches = np.array(list(zip([0, *waits], waits, strict=False)), np.int64)
    return Program(stretches, parts, calls, arguments, listed, Workers(threads))
