"""The life of every storage in a step of eager PyTorch: which operation makes it, and when its last user lets it go.

A storage is the memory that a tensor and all views of it share. Under fake tensors it holds nothing, and yet it lives exactly
as long as in a real run, because the same program holds the same references: autograd what it keeps for the backward pass, the
optimizer its state, user code its variables. So nothing has to be derived. The recorder only watches, and holds no storage
itself. What a kernel needs for itself while it runs is not seen.
"""

from __future__ import annotations

import weakref
from typing import Any

from epochwise.tracing.trace import Storage


class Storages:
    """Numbers storages in the order of their first sight, and notes when they go."""

    def __init__(self) -> None:
        self.place = 0
        """How many operations are on record."""
        self.last_backward = 0
        """Place of the last of them that was in the backward pass."""
        self._number_of: dict[int, int] = {}  # by address; of storages that are there now
        self._watched: dict[int, weakref.ref[Any]] = {}  # likewise
        self._bytes: list[int] = []
        self._born: list[int | None] = []
        self._freed: list[int | None] = []
        self._kept: dict[int, int] = {}  # the place at which autograd first kept it

    def number(self, tensor: Any, born: int | None = None) -> int:
        """The number of the storage that a tensor lies in.

        Args:
            tensor: an ordinary (strided) tensor.
            born: place of the operation that makes the storage, if it is seen for the first time; ``None`` if it was there
                before the step.
        """
        storage = tensor.untyped_storage()
        known = self._number_of.get(storage._cdata)
        if known is not None:
            return known
        self._bytes.append(storage.nbytes())
        self._born.append(born)
        self._freed.append(None)
        return self._watch(storage, len(self._bytes) - 1)

    def unite(self, tensor: Any, other: Any) -> None:
        """A tensor that is a view of another, or is written in its place, lies where that does.

        Under fake tensors a view of a real tensor (a parameter) lies in a storage of its own.
        """
        number, storage = self.number(other), tensor.untyped_storage()
        if storage._cdata not in self._number_of:
            self._watch(storage, number)

    def keep(self, tensor: Any) -> None:
        """Autograd keeps this tensor, for a backward pass if one comes."""
        self._kept.setdefault(self.number(tensor), self.place)

    def finished(self) -> tuple[Storage, ...]:
        """All storages, by number; call it when the step has ended."""
        kept = {number for number, place in self._kept.items() if place <= self.last_backward}
        lives = zip(self._bytes, self._born, self._freed, strict=True)
        return tuple(
            Storage(bytes=size, born=born, freed=freed, kept=number in kept) for number, (size, born, freed) in enumerate(lives)
        )

    def _watch(self, storage: Any, number: int) -> int:
        address = storage._cdata

        def gone(_: Any) -> None:
            del self._number_of[address], self._watched[address]
            self._freed[number] = self.place

        self._number_of[address] = number
        self._watched[address] = weakref.ref(storage, gone)
        return number
