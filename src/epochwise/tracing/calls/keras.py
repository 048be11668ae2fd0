"""Keras's entry points while a model is built or traced: they go through wrappers of ours, and a layer that raises is named."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import keras

_LAYER = "Layer: "


def name_layer(error: BaseException, path: str) -> None:
    """Put the layer into an exception's notes, unless a layer inside it did."""
    if layer_of(error) is None:
        error.add_note(f"{_LAYER}{path}")


def layer_of(error: BaseException) -> str | None:
    """Path of the innermost layer whose call raised, ``None`` if none was named."""
    notes = [note for before in origins(error) for note in getattr(before, "__notes__", ()) if note.startswith(_LAYER)]
    return notes[-1].removeprefix(_LAYER) if notes else None


def origins(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that it came from: Keras puts others in the place of what a layer raised."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


@contextlib.contextmanager
def layers_named(model: Any) -> Iterator[None]:
    """Whatever a layer of the model raises while the context is open has that layer's name in its notes."""
    names: list[str] = []

    def around(original: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        inside = layer is not model
        names.extend([layer.name] * inside)
        try:
            return original(layer, *args, **kwargs)
        except Exception as error:
            if inside:
                name_layer(error, "/".join(names))
            raise
        finally:
            del names[len(names) - inside :]

    with patched(keras.layers.Layer, "__call__", around):
        yield


class _Patch:
    """One method or function that goes through wrappers while any is open: the newest of the thread that calls it.

    Several models may be traced or trained at once, each in a thread of its own, and none may see the others' calls.
    """

    def __init__(self, owner: type | ModuleType, name: str) -> None:
        self._owner = owner
        self._name = name
        self._original = original = getattr(owner, name)
        self._kept = vars(owner).get(name)
        self.wrappers: dict[int, list[Callable[..., Any]]] = {}

        @functools.wraps(original)
        def entry(*args: Any, **kwargs: Any) -> Any:
            open_here = self.wrappers.get(threading.get_ident())
            return open_here[-1](original, *args, **kwargs) if open_here else original(*args, **kwargs)

        self._put(entry)

    def remove(self) -> None:
        """Put the entry point back as it was."""
        if self._kept is not None:
            self._put(self._kept)
        elif isinstance(self._owner, type):
            type.__delattr__(self._owner, self._name)

    def _put(self, entry: Any) -> None:
        # Keras's classes have a __setattr__ of their own.
        (type.__setattr__ if isinstance(self._owner, type) else setattr)(self._owner, self._name, entry)


_PATCHES: dict[tuple[type | ModuleType, str], _Patch] = {}
_PATCHES_LOCK = threading.Lock()


@contextlib.contextmanager
def patched(owner: type | ModuleType, name: str, around: Callable[..., Any]) -> Iterator[None]:
    """Let this thread's calls of ``owner.name`` go through ``around(original, *args, **kwargs)``; undone afterwards.

    The first argument of a method is its object.
    """
    thread = threading.get_ident()
    with _PATCHES_LOCK:
        patch = _PATCHES.get((owner, name))
        if patch is None:
            patch = _PATCHES[owner, name] = _Patch(owner, name)
        patch.wrappers.setdefault(thread, []).append(around)
    try:
        yield
    finally:
        with _PATCHES_LOCK:
            patch.wrappers[thread].remove(around)  # not always the newest: a training that was left may be noticed late
            if not patch.wrappers[thread]:
                del patch.wrappers[thread]
            if not patch.wrappers:
                patch.remove()
                del _PATCHES[owner, name]
