"""Gradients in the same memory: only where neither is needed while the other is there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from epochwise.engine.code import Call
from epochwise.engine.forms import Form
from epochwise.engine.kernels import elementwise
from epochwise.engine.plan import Part, floats
from epochwise.engine.stages.sharing import shared

BATCH = 3
FORMS = [Form((4, 6), 4, 6, 8), Form((2, 2, 6), 4, 6, 8), Form((4, 8), 4, 8, 8)]
"""The first two lie alike; the third has its padding elsewhere."""


def call(*arrays: np.ndarray) -> Call:
    """One that reads or writes these."""
    return Call(elementwise.clear(lanes=8), {f"a{number}": array for number, array in enumerate(arrays)})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_two_that_are_needed_at_once_share(data):
    """Drawn gradients and calls: each call still reads what was written for it, as if all had memory of their own."""
    forms = data.draw(st.lists(st.sampled_from(FORMS), min_size=1, max_size=8))
    passing = [(form, floats(BATCH, form.size)) for form in forms]
    numbers = st.lists(st.integers(0, len(forms) - 1), min_size=1, max_size=3, unique=True)
    plan = data.draw(st.lists(numbers, min_size=1, max_size=12))
    other = floats(BATCH, 32)
    calls = [call(other, *(passing[number][1] for number in each)) for each in plan]
    cut = data.draw(st.integers(0, len(calls)))
    parts = shared([Part(tuple(calls[:cut]), 1), Part(tuple(calls[cut:]), 0, wait=True)], passing)
    assert [(part.group, part.wait) for part in parts] == [(1, False), (0, True)]
    done = [call for part in parts for call in part.calls]
    last = {number: place for place, each in enumerate(plan) for number in each}
    holds: dict[int, int] = {}
    begun: set[int] = set()
    for place, (each, made) in enumerate(zip(plan, done, strict=True)):
        first, *arrays = made.given.values()
        assert first is other
        addresses = [array.ctypes.data for array in arrays]
        assert len(set(addresses)) == len(addresses)
        for number, address, array in zip(each, addresses, arrays, strict=True):
            assert array.nbytes == passing[number][1].nbytes
            if number in begun:
                assert holds[address] == number, "another one has been written there"
            begun.add(number)
            holds[address] = number
        homes = {address: number for address, number in holds.items() if last[number] >= place}
        for address, number in homes.items():
            form = forms[number]
            owner = next(of for of, memory in passing if memory.ctypes.data == address)
            assert (owner.blocks, owner.channels, owner.pitch) == (form.blocks, form.channels, form.pitch)


def test_a_chain_needs_two():
    """Each call reads the gradient before and writes the next one, as in a backward pass."""
    passing = [(FORMS[0], floats(BATCH, FORMS[0].size)) for _ in range(9)]
    calls = [call(one, other) for (_, one), (_, other) in pairwise(passing)]
    (part,) = shared([Part(tuple(calls), 1)], passing)
    used = {array.ctypes.data for each in part.calls for array in each.given.values()}
    assert len(used) == 2


def test_a_part_of_a_gradient_stays_that_part():
    """A view that begins later begins as much later in the new memory."""
    first, second = ((FORMS[0], floats(BATCH, FORMS[0].size)) for _ in range(2))
    calls = [call(first[1]), call(second[1], second[1].reshape(-1)[5:])]
    (part,) = shared([Part(tuple(calls), 1)], [first, second])
    whole, later = part.calls[1].given.values()
    assert whole.ctypes.data == first[1].ctypes.data
    assert later.ctypes.data - whole.ctypes.data == 5 * 4
