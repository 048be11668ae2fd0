"""The kernel that runs all others: steps, stretches of a step, parts of a stretch, and the calls of a part.

Every thread runs it at once. The work of a stretch is cut into as many shares as there are threads, and all shares of a
stretch are done before the next one begins. In a part over samples, a share is a run of the step's samples, which go through
all calls of the part a group at a time, so that a group stays in cache. In a part over slices, it is a slice of each call's
items (rows of weights, say).

Each thread takes the share of its own number, and after it any share that nobody has begun. So a thread that the system keeps
from running, on a busy machine, holds the others up for one share at most. What a share is depends on nothing but the number of
threads and samples: results repeat bit for bit, whoever does it.
"""

from __future__ import annotations

from enum import IntEnum

from epochwise.engine.code import Code, Place, Places, kernel, on_x86
from epochwise.engine.simd import Int, Longs

PART_WORDS = 4
STRETCH_WORDS = 2
CALL_WORDS = 4
SPINS = 2000
"""How often a thread looks before it lets others run: some tens of microseconds."""

CLAIM_WORDS = 8
"""Words from one share's claim to the next: cache lines of their own."""


class Part(IntEnum):
    """The words of a part."""

    FIRST = 0
    """Its first call."""
    LAST = 1
    """One after its last."""
    GROUP = 2
    """Samples that go through all calls at a time; 0: a part over slices."""


class CallWord(IntEnum):
    """The words of a call."""

    ADDRESS = 0
    ARGUMENTS = 1
    ITEMS = 2
    """Items that are shared out, in parts over slices."""
    UNIT = 3
    """Items that stay together."""


@kernel
def course(
    code: Code,
    stretches: Longs,
    stretches_in_all: Int,
    parts: Longs,
    calls: Longs,
    first_step: Int,
    last_step: Int,
    samples: Int,
    batch: Int,
    done: Longs,
    claims: Longs,
    give_way: Int,
    *,
    place: Places,
) -> None:
    """Run these steps over ``samples`` samples, ``batch`` at a time; the last batch may be smaller.

    Args:
        stretches: for each, its first part and one after its last.
        done: how many shares are finished, of all stretches of all steps so far.
        claims: for each share, the last stretch in which somebody began it; stretches are counted from 1.
    """
    words, thread, threads = place.words, place[Place.THREAD], place[Place.THREADS]
    saved = code.flush_denormals() if on_x86() else None
    with code.loop(first_step, last_step) as step:
        start = step * batch
        many = batch.min(samples - start)
        for at, number in ((Place.BATCH, many), (Place.STEP, step), (Place.START, start)):
            (words + int(at)).store(number)
        with code.loop(0, stretches_in_all) as which:
            count = (step - first_step) * stretches_in_all + which + 1
            with code.loop(0, threads) as other:
                share = (thread + other) % threads
                with code.when(code.atomic_max(claims + share * CLAIM_WORDS, count) < count):
                    (words + int(Place.THREAD)).store(share)
                    _do(code, stretches + which * STRETCH_WORDS, parts, calls, words, share, threads, many)
                    code.atomic_add(done, 1)
            _wait(code, done, count * threads, give_way)
    (words + int(Place.THREAD)).store(thread)
    if saved is not None:
        code.restore_denormals(saved)


def _do(code: Code, stretch: Longs, parts: Longs, calls: Longs, words: Longs, share: Int, threads: Int, many: Int) -> None:
    """One share of a stretch."""
    size = (many + threads - 1) // threads
    low = (share * size).min(many)
    high = (low + size).min(many)
    with code.loop(stretch.load(), (stretch + 1).load()) as number:
        part = parts + number * PART_WORDS
        first, last, group = ((part + int(word)).load() for word in (Part.FIRST, Part.LAST, Part.GROUP))
        with code.when(group > 0), code.loop(low, high, group) as begin:
            (words + int(Place.FIRST)).store(begin)
            (words + int(Place.LAST)).store((begin + group).min(high))
            with code.loop(first, last) as which:
                call = calls + which * CALL_WORDS
                code.call((call + int(CallWord.ADDRESS)).load(), (call + int(CallWord.ARGUMENTS)).load(), words)
        with code.when(group.equals(0)), code.loop(first, last) as which:
            _slice(code, calls + which * CALL_WORDS, words, share, threads)


def _slice(code: Code, call: Longs, words: Longs, share: Int, threads: Int) -> None:
    """A share of one call's items."""
    items, unit = (call + int(CallWord.ITEMS)).load(), (call + int(CallWord.UNIT)).load()
    units = (items + unit - 1) // unit
    first = units * share // threads * unit
    last = (units * (share + 1) // threads * unit).min(items)
    (words + int(Place.FIRST)).store(first)
    (words + int(Place.LAST)).store(last)
    with code.when(first < last):
        code.call((call + int(CallWord.ADDRESS)).load(), (call + int(CallWord.ARGUMENTS)).load(), words)


def _wait(code: Code, done: Longs, count: Int, give_way: Int) -> None:
    """Until so many shares are finished: look often for a short while, then let other threads run between looks."""
    looked = code.variable(code.whole(0))
    with code.until(lambda: code.atomic_load(done) >= count):
        looked.value = looked.value + 1
        code.pause()
        with code.when(looked.value > SPINS):
            code.call_plain(give_way)
