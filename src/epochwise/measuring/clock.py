"""Where a training loop's own thread is: waiting for a batch, in a callback, in validation, between two epochs.

The clock runs in the undisturbed steps, so its figures need no profiler. It costs two looks at the system's clock for each
stay, about a microsecond a step. Stays do not overlap: what is inside a callback is the callback's, whatever it does, except
that between two epochs every stay is told apart, and is marked as one in the turn.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from epochwise.measuring.measurement import INPUT, TURN, VALIDATION, HostTime

__all__ = ["INPUT", "TURN", "VALIDATION", "HostClock", "callback_name", "span_name"]

GATE = "(gate)"
"""The measuring itself; dropped."""
SPAN = "epochwise.host:"
"""What the names of stays begin with in a profile."""

Batch = TypeVar("Batch")
_NONE: Any = object()
"""There is no batch."""
Annotate = Callable[[str], contextlib.AbstractContextManager[object]]


def callback_name(kind: type) -> str:
    """How the stays in a callback are called: by its class, ``callback ModelCheckpoint``."""
    return f"callback {kind.__name__}"


def span_name(place: str) -> str:
    """What a stay is called in a profile."""
    return f"{SPAN}{place}"


class HostClock:
    """Adds up how long one thread stays where.

    Attributes:
        annotate: while a profiler runs, opens a scope in its recording; ``None`` otherwise.
        paused: whether nothing is measured just now, so that a batch need not be timed.
    """

    def __init__(self) -> None:
        self.annotate: Annotate | None = None
        self.paused = False
        self._seconds: defaultdict[tuple[str, bool], float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = time.perf_counter()

    @property
    def in_turn(self) -> bool:
        """Whether the loop is between two epochs."""
        return bool(self._stack) and self._stack[0] == TURN

    @property
    def in_step(self) -> bool:
        """Whether the loop is in none of the places that are told apart."""
        return not self._stack

    def stay(self, place: str) -> contextlib.AbstractContextManager[None]:
        """The thread is in this place while the context is open; inside another one, it stays the other's."""
        return _Stay(self, place)

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of a loader; while the next one is waited for, the thread stays in the input pipeline."""
        with self.stay(INPUT):
            batches = iter(loader)
        return self._fetched(batches)

    def _fetched(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while (batch := next(batches, _NONE) if self.paused else self._fetch(batches)) is not _NONE:
            yield batch

    def _fetch(self, batches: Iterator[Batch]) -> Batch:
        """The next batch, ``_NONE`` after the last; most are had in the midst of an epoch, at half the cost of others."""
        stack = self._stack
        if stack or self.annotate is not None:
            with self.stay(INPUT):
                return next(batches, _NONE)
        stack.append(INPUT)
        self._since = time.perf_counter()
        try:
            return next(batches, _NONE)
        finally:
            self._seconds[INPUT, False] += time.perf_counter() - self._since
            stack.pop()

    def begin_turn(self) -> None:
        """The last step of an epoch has been computed; nothing happens inside another stay."""
        if not self._stack:
            self._enter(TURN)

    def end_turn(self) -> None:
        """The first step of an epoch is about to begin."""
        if self._stack and self.in_turn and len(self._stack) == 1:
            self._leave()

    def start(self) -> None:
        """Forget what was added up."""
        self._seconds.clear()
        self._since = time.perf_counter()

    def read(self) -> tuple[HostTime, ...]:
        """Seconds in each place since :meth:`start`, the measuring itself left out."""
        if self._stack:
            self._switch()
        return tuple(HostTime(place, in_turn, seconds) for (place, in_turn), seconds in self._seconds.items() if place != GATE)

    def _enter(self, place: str) -> None:
        self._switch()
        self._stack.append(place)

    def _leave(self) -> None:
        self._switch()
        self._stack.pop()

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._stack:
            self._seconds[self._stack[-1], self.in_turn] += now - self._since
        self._since = now


class _Stay(contextlib.AbstractContextManager[None]):
    """A stay of a clock's thread. There is one in every step of a loop, and a generator would take half as long again."""

    __slots__ = ("_clock", "_place", "_region")

    def __init__(self, clock: HostClock, place: str) -> None:
        self._clock, self._place = clock, place
        self._region: contextlib.AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        clock, stack = self._clock, self._clock._stack
        inner = stack and stack[-1] != TURN and self._place != GATE
        clock._enter(stack[-1] if inner else self._place)
        if clock.annotate is not None and not inner:
            self._region = clock.annotate(span_name(self._place))
            self._region.__enter__()

    def __exit__(self, *error: Any) -> None:
        try:
            if self._region is not None:
                self._region.__exit__(*error)
        finally:
            self._clock._leave()
