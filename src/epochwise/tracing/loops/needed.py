"""Which operations of a step with loops are needed, and in how many runs of their loop.

Going back from the results: an operation is needed if something needed reads what it writes. In a loop, what a run hands to the
next one is needed only in so far as a next run needs it. So an operation whose result is wanted only by the next run is needed
once less than the loop runs, one that is wanted only by the run after that twice less, and so on. The gradient with respect to
the initial state of a recurrent layer is an example: a framework that runs the time steps one by one does not compute it, and
with this the ones that loop are counted alike.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from epochwise.tracing.trace import Operation


class Loop(NamedTuple):
    """What a loop hands from run to run.

    Attributes:
        times: how often it runs; ``None`` if unknown.
        handed: by the number of a value as the body sees it: the number of what a run hands to the next one.
    """

    times: int | None
    handed: dict[int, int]


def needed(
    operations: Sequence[Operation],
    loop_of: Mapping[int, int],
    loops: Sequence[Loop],
    results: Collection[int],
    stored: Mapping[int, int] | None = None,
) -> tuple[Operation, ...]:
    """The operations that the results need, in order, with ``times`` reduced as described above.

    Args:
        operations: all, in order. Those without outputs are needed.
        loop_of: by place of an operation: the innermost loop that it stands in.
        loops: all loops.
        results: numbers of the values that the step must compute.
        stored: for each value the number of one that lies in the same memory; by default each has its own.
    """

    def memory(value: int) -> int:
        return value if stored is None else stored.get(value, value)

    makers: dict[int, list[int]] = defaultdict(list)
    for place, operation in enumerate(operations):
        for output in operation.outputs:
            makers[memory(output)].append(place)
    loop_of_value = {value: number for number, loop in enumerate(loops) for value in loop.handed}
    late = {place: 0 for place, operation in enumerate(operations) if not operation.outputs}
    seen: dict[tuple[int, int | None], int] = {}
    todo: deque[tuple[int, int | None, int]] = deque((value, None, 0) for value in results)
    for place in late:
        todo.extend((given, loop_of.get(place), 0) for given in operations[place].inputs)
    while todo:  # a value, the loop of what reads it, and for how many runs at the end of that loop it is not needed
        value, reader, runs = todo.popleft()
        if seen.get((value, reader), runs + 1) <= runs:
            continue
        seen[value, reader] = runs
        carrier = loop_of_value.get(value)
        if carrier is not None:
            later = 1 + (runs if reader == carrier else 0)
            times = loops[carrier].times
            if times is None or later < times:
                todo.append((loops[carrier].handed[value], carrier, later))
        for place in makers.get(memory(value), ()):
            here = loop_of.get(place)
            later = runs if here is not None and here == reader else 0
            if late.get(place, later + 1) > later:
                late[place] = later
                todo.extend((given, here, later) for given in operations[place].inputs)
    kept = []
    for place, operation in enumerate(operations):
        if place in late:
            of = loop_of.get(place)
            runs_of_loop = None if of is None else loops[of].times
            kept.append(_fewer(operation, runs_of_loop, late[place]) if late[place] and runs_of_loop else operation)
    return tuple(kept)


def _fewer(operation: Operation, runs: int, less: int) -> Operation:
    """The operation, needed in all but so many runs of its loop."""
    times = None if operation.times is None else operation.times // runs * (runs - less)
    return Operation(
        name=operation.name,
        inputs=operation.inputs,
        outputs=operation.outputs,
        phase=operation.phase,
        call=operation.call,
        attributes=operation.attributes,
        times=times,
    )
