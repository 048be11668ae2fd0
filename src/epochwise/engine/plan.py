"""A plan: which kernels run in which order on which arrays. Made by ``planner.py``, run by ``crew.py``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.code import Call, Variant
from epochwise.engine.kernels.course import OPERATION_WORDS, PART_WORDS
from epochwise.engine.network import Float32

ALIGNMENT = 64
"""Bytes of a cache line, and of the widest vector."""


def floats(*shape: int) -> Float32:
    """Zeros that begin on a cache line."""
    count = int(np.prod(shape))
    raw = np.zeros(4 * count + ALIGNMENT, np.uint8)
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
        parts, operations: tables of words, see ``kernels/course.py``.
        arguments: the arguments of each operation.
        calls: what ``arguments`` points to, kept alive.
    """

    parts: NDArray[np.int64]
    operations: NDArray[np.int64]
    arguments: list[NDArray[np.int64]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


def program(parts: list[Part], addresses: dict[Variant, int]) -> Program:
    """Tables for these parts, with the addresses of their kernels."""
    calls = [call for part in parts for call in part.calls]
    arguments = [call.words() for call in calls]
    operations = np.zeros((max(len(calls), 1), OPERATION_WORDS), np.int64)
    for row, call, words in zip(operations, calls, arguments, strict=False):
        row[:] = addresses[call.variant], words.ctypes.data, call.items, call.unit
    table = np.zeros((max(len(parts), 1), PART_WORDS), np.int64)
    first = 0
    for row, part in zip(table, parts, strict=False):
        row[:] = first, first + len(part.calls), part.group, part.wait
        first += len(part.calls)
    return Program(table, operations, arguments, calls)
