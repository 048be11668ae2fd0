"""Reading in a thread of its own, so that the next chunk of data is there when the present one is trained."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_LOOK_SECONDS = 0.05
"""How often a thread that has nobody to hand its item to looks whether it is still wanted."""


class Ahead(Generic[Item]):
    """Goes through items in a thread, at most two ahead of who iterates here: one handed over, one in the making.

    Args:
        make: gives the items, given a function that says whether they are still wanted. It runs in the thread, all of it.
    """

    def __init__(self, make: Callable[[Callable[[], bool]], Iterator[Item]]) -> None:
        self._make = make
        self._ready: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(maxsize=1)
        self._given_up = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        """The items in their order. What reading raises is raised here; when this ends, by whatever, so does the thread."""
        thread = threading.Thread(target=self._read, daemon=True, name="epochwise-reader")
        thread.start()
        try:
            while (found := self._ready.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found[0]
        finally:
            self._given_up.set()
            thread.join()

    def _read(self) -> None:
        try:
            for item in self._make(lambda: not self._given_up.is_set()):
                self._hand_over((item,))
                if self._given_up.is_set():
                    return
            self._hand_over(None)
        except BaseException as error:  # it is the reader's caller who must see it
            self._hand_over(error)

    def _hand_over(self, found: tuple[Item] | BaseException | None) -> None:
        while not self._given_up.is_set():
            try:
                self._ready.put(found, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return
