"""Tensors and gradients that are never needed at the same time lie in the same memory, so that more of a step stays in cache.

Each step writes them before it reads them. So before the first and after the last call that has one, its memory is free, and
another of the same form may have it: the same numbers of each sample, and padding, which is always zero, at the same places.
Every sample keeps its own place, so threads that are at different calls do not meet.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from epochwise.engine.code import Call, Given
from epochwise.engine.forms import Form
from epochwise.engine.network import Float32
from epochwise.engine.plan import Part

Passing: TypeAlias = tuple[Form, Float32]
"""A tensor or gradient of the whole batch, and the form of a sample of it."""


def shared(parts: Sequence[Part], passing: Sequence[Passing]) -> list[Part]:
    """The same parts, with what they pass on in as little memory as it needs.

    Args:
        parts: of a whole step, in their order.
        passing: what may share memory: every step writes all real numbers of it before it reads any.
    """
    ordered = sorted(passing, key=lambda one: _address(one[1]))
    starts = [_address(memory) for _, memory in ordered]

    def owner(given: Given) -> int | None:
        """Whose memory an argument points into, if any."""
        place = bisect_right(starts, _address(given)) - 1 if isinstance(given, np.ndarray) else -1
        if place < 0 or _address(given) >= starts[place] + ordered[place][1].nbytes:
            return None
        return place

    calls = [call for part in parts for call in part.calls]
    used: dict[int, tuple[int, int]] = {}
    for number, call in enumerate(calls):
        for which in (owner(given) for given in call.given.values()):
            if which is not None:
                used[which] = (used.get(which, (number, number))[0], number)
    moved = _moved({which: (ordered[which], *span) for which, span in used.items()})

    def again(given: Given) -> Given:
        which = owner(given)
        if which is None or which not in moved:
            return given
        return moved[which].reshape(-1)[(_address(given) - starts[which]) // moved[which].itemsize :]

    return [dataclasses.replace(part, calls=tuple(_with(call, again) for call in part.calls)) for part in parts]


def _moved(used: dict[int, tuple[Passing, int, int]]) -> dict[int, Float32]:
    """Where each lies that follows another in its memory: the one that was read last, since that is still in cache."""
    homes: dict[int, Float32] = {}
    free: dict[tuple[int, int, int], list[tuple[int, Float32]]] = {}
    for which, ((form, memory), first, last) in sorted(used.items(), key=lambda item: item[1][1]):
        places = free.setdefault((form.blocks, form.channels, form.pitch), [])
        over = [place for place in places if place[0] < first]
        home = memory
        if over:
            latest = max(over, key=lambda place: place[0])
            places.remove(latest)
            home = homes[which] = latest[1]
        places.append((last, home))
    return homes


def _with(call: Call, again: Callable[[Given], Given]) -> Call:
    return dataclasses.replace(call, given={name: again(given) for name, given in call.given.items()})


def _address(array: Given) -> int:
    assert isinstance(array, np.ndarray)
    return int(array.ctypes.data)
