"""Which operations a step with loops needs, and in how many runs of their loop."""

from __future__ import annotations

from epochwise.tracing.loops.needed import Loop, needed
from epochwise.tracing.trace import Operation


def operation(name, inputs, outputs, times=1):
    return Operation(name, tuple(inputs), tuple(outputs), "forward", times=times)


def kept(operations, results, loops=(), loop_of=None):
    return {made.name: made.times for made in needed(operations, loop_of or {}, list(loops), results)}


def test_what_no_result_depends_on_is_left_out():
    """Operations that write nothing stay."""
    steps = [operation("used", [0], [1]), operation("unused", [0], [2]), operation("prints", [0], [])]
    assert kept(steps, [1]) == {"used": 1, "prints": 1}


def test_what_only_the_next_run_needs_is_needed_once_less():
    """A body that hands 11 = f(10) on and gives 12 = g(10): of 5 runs, f is needed in 4."""
    steps = [operation("f", [10], [11], 5), operation("g", [10], [12], 5)]
    assert kept(steps, [12], [Loop(5, {10: 11})], {0: 0, 1: 0}) == {"f": 4, "g": 5}


def test_a_chain_of_handed_values_is_needed_less_and_less():
    """10 becomes 20 in the next run and 20 becomes 30 in the one after: 3 runs need their makers 2 times and once."""
    steps = [operation("a", [0], [11], 3), operation("b", [10], [21], 3), operation("c", [20], [12], 3)]
    assert kept(steps, [12], [Loop(3, {10: 11, 20: 21})], {0: 0, 1: 0, 2: 0}) == {"a": 1, "b": 2, "c": 3}


def test_what_is_needed_behind_the_loop_is_needed_in_every_run():
    """The last value that is handed on is also a result."""
    steps = [operation("f", [10], [11], 5)]
    assert kept(steps, [11], [Loop(5, {10: 11})], {0: 0}) == {"f": 5}


def test_a_loop_of_unknown_length_keeps_unknown_times():
    """Nothing is taken off a number that is not known."""
    steps = [operation("f", [10], [11], None), operation("g", [10], [12], None)]
    assert kept(steps, [12], [Loop(None, {10: 11})], {0: 0, 1: 0}) == {"f": None, "g": None}


def test_a_loop_in_a_loop_is_reduced_by_its_own_runs_alone():
    """An inner loop of 5 that stands in 3 runs of another: 3 x 4, not 3 x 5 - 1."""
    steps = [operation("f", [10], [11], 15), operation("g", [10], [12], 15)]
    assert kept(steps, [12], [Loop(3, {}), Loop(5, {10: 11})], {0: 1, 1: 1}) == {"f": 12, "g": 15}
