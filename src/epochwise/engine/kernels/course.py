"""The kernel that runs all others: steps, the parts of a step, the operations of a part.

Every thread runs it at once. In parts over samples, each thread has a run of the step's samples to itself, and takes them a
group at a time through all operations of the part, so that a group stays in cache. In parts over slices, each thread has a
slice of each operation's items (rows of weights, say). Threads wait for each other where a part says so.

The split depends on nothing but the number of threads and samples, so results repeat bit for bit.
"""

from __future__ import annotations

from enum import IntEnum

from epochwise.engine.code import Code, Place, Places, kernel, on_x86
from epochwise.engine.simd import Int, Longs

PART_WORDS = 4
OPERATION_WORDS = 4
SPINS = 2000
"""How often a thread looks before it lets others run: some tens of microseconds."""

SYNC_WORDS = 32
_ARRIVED, _ROUND = 0, 16
"""Places in ``sync``, on cache lines of their own."""


class Part(IntEnum):
    """The words of a part."""

    FIRST = 0
    """Its first operation."""
    LAST = 1
    """One after its last."""
    GROUP = 2
    """Samples that go through all operations at a time; 0: operations over slices."""
    WAIT = 3
    """Whether threads wait for each other after it."""


class Step(IntEnum):
    """The words of an operation."""

    ADDRESS = 0
    ARGUMENTS = 1
    ITEMS = 2
    """Items that are shared out, in parts over slices."""
    UNIT = 3
    """Items that stay together."""


@kernel
def course(
    code: Code,
    parts: Longs,
    parts_in_all: Int,
    operations: Longs,
    first_step: Int,
    last_step: Int,
    samples: Int,
    batch: Int,
    sync: Longs,
    give_way: Int,
    *,
    place: Places,
) -> None:
    """Run these steps over ``samples`` samples, ``batch`` at a time; the last batch may be smaller."""
    words = place.words
    thread, threads = place[Place.THREAD], place[Place.THREADS]
    saved = code.flush_denormals() if on_x86() else None
    with code.loop(first_step, last_step) as step:
        start = step * batch
        many = batch.min(samples - start)
        share = (many + threads - 1) // threads
        low = (thread * share).min(many)
        high = (low + share).min(many)
        for at, number in ((Place.BATCH, many), (Place.STEP, step), (Place.START, start)):
            (words + int(at)).store(number)
        with code.loop(0, parts_in_all) as number:
            part = parts + number * PART_WORDS
            first, last, group = ((part + int(word)).load() for word in (Part.FIRST, Part.LAST, Part.GROUP))
            with code.when(group > 0), code.loop(low, high, group) as begin:
                (words + int(Place.FIRST)).store(begin)
                (words + int(Place.LAST)).store((begin + group).min(high))
                with code.loop(first, last) as which:
                    operation = operations + which * OPERATION_WORDS
                    code.call((operation + int(Step.ADDRESS)).load(), (operation + int(Step.ARGUMENTS)).load(), words)
            with code.when(group.equals(0)), code.loop(first, last) as which:
                _slice(code, operations + which * OPERATION_WORDS, words, thread, threads)
            with code.when((part + int(Part.WAIT)).load().equals(1) & (threads > 1)):
                _wait(code, sync, threads, give_way)
    if saved is not None:
        code.restore_denormals(saved)


def _slice(code: Code, operation: Longs, words: Longs, thread: Int, threads: Int) -> None:
    """Do this thread's slice of an operation."""
    items, unit = (operation + int(Step.ITEMS)).load(), (operation + int(Step.UNIT)).load()
    units = (items + unit - 1) // unit
    first = units * thread // threads * unit
    last = (units * (thread + 1) // threads * unit).min(items)
    (words + int(Place.FIRST)).store(first)
    (words + int(Place.LAST)).store(last)
    with code.when(first < last):
        code.call((operation + int(Step.ADDRESS)).load(), (operation + int(Step.ARGUMENTS)).load(), words)


def _wait(code: Code, sync: Longs, threads: Int, give_way: Int) -> None:
    """Until all threads are here: look often for a short while, then let other threads run between looks."""
    arrived, turn = sync + _ARRIVED, sync + _ROUND
    now = code.atomic_load(turn)
    with code.either(code.atomic_add(arrived, 1).equals(threads - 1)) as (last_one, others):
        with last_one:
            code.atomic_store(arrived, 0)
            code.atomic_add(turn, 1)
        with others:
            looked = code.variable(code.whole(0))
            with code.until(lambda: code.atomic_load(turn) > now):
                looked.value = looked.value + 1
                code.pause()
                with code.when(looked.value > SPINS):
                    code.call_plain(give_way)
