"""``import tensorflow as tf`` in a user's file, answered with Keras on the backends that are not TensorFlow.

``tf.keras`` *is* Keras 3, so a file that uses nothing else of TensorFlow means the same on every backend. While such a file is
loaded and its function runs, importing ``tensorflow`` from *user code* gives a stand-in whose ``keras`` is Keras.

The stand-in is given out by the import statement itself and never enters ``sys.modules``: Keras decides by a look into
``sys.modules`` whether TensorFlow is around, and so do other libraries. Their own imports (anything in ``site-packages``) are
left alone. What it does not do: ``importlib.import_module("tensorflow")`` in user code gives the real one.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import site
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from epochwise.subjects.backends import is_installed


class _TensorFlow(types.ModuleType):
    """Looks like the module ``tensorflow``: ``keras`` is Keras, everything else comes from the real one if it is installed."""

    def __init__(self, keras: Callable[[], types.ModuleType], backend: str) -> None:
        super().__init__("tensorflow", "A stand-in by epochwise: tensorflow.keras is Keras.")
        self._keras = keras
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        if name == "keras":
            return self._keras()
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        if is_installed("tensorflow"):
            return getattr(importlib.import_module("tensorflow"), name)
        raise AttributeError(
            f"this file uses tensorflow.{name}, and TensorFlow is not installed. On the {self._backend} backend, epochwise "
            f"answers tensorflow.keras with Keras; for anything else install TensorFlow (pip install tensorflow) or use "
            f"keras.ops, which works on every backend"
        )


@contextlib.contextmanager
def tensorflow_stand_in(keras: Callable[[], types.ModuleType], *, backend: str, packages: tuple[str, ...]) -> Iterator[None]:
    """While open, user code that imports ``tensorflow`` receives the stand-in. Does nothing on the TensorFlow backend.

    Args:
        keras: gives the module ``keras``; called when it is first asked for.
        backend: the backend in use, for the message.
        packages: top-level modules of the user's code, which may itself be installed in ``site-packages``.
    """
    if backend == "tensorflow":
        yield
        return
    original = builtins.__import__
    stand_in = _TensorFlow(keras, backend)

    def import_module(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        if level == 0 and _meant(name) and _by_user(globals, packages):
            return _answer(name, fromlist or (), stand_in)
        return original(name, globals, locals, fromlist or (), level)

    builtins.__import__ = import_module
    try:
        yield
    finally:
        builtins.__import__ = original


def _meant(name: str) -> bool:
    return name in {"tensorflow", "tensorflow.keras"} or name.startswith("tensorflow.keras.")


def _by_user(importer: Mapping[str, object] | None, packages: tuple[str, ...]) -> bool:
    """Whether an import statement stands in user code: not in an installed library, unless that is the user's own."""
    if importer is None or str(importer.get("__name__", "")).partition(".")[0] in packages:
        return True
    return not is_library(str(importer.get("__file__") or ""))


def is_library(file: str) -> bool:
    """Whether a source file belongs to Python itself or to an installed package, by the folder that it lies in."""
    path = Path(file)
    return bool(file) and any(path.is_relative_to(folder) for folder in _library_folders())


@functools.cache
def _library_folders() -> frozenset[str]:
    found = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return frozenset({*found, *site.getsitepackages(), site.getusersitepackages()})


def _answer(name: str, fromlist: Sequence[str], stand_in: _TensorFlow) -> types.ModuleType:
    """What ``__import__`` must return: the top module for ``import a.b``, the last one for ``from a.b import c``."""
    found = stand_in if name == "tensorflow" else _public(name.removeprefix("tensorflow."), stand_in)
    if not fromlist:
        # `import tensorflow.keras as K` compiles to this and a look-up of `.keras`; `.layers` of Keras is there likewise.
        return stand_in
    for member in fromlist:
        if found is stand_in and member != "*":
            try:  # `from` would drop our message with the AttributeError
                getattr(found, member)
            except AttributeError as problem:
                raise ImportError(str(problem), name=name) from None
        elif member != "*" and not hasattr(found, member):
            raise ImportError(f"cannot import name '{member}' from '{name}': Keras has no {found.__name__}.{member}", name=name)
    return found


def _public(dotted: str, stand_in: _TensorFlow) -> types.ModuleType:
    found: Any = stand_in
    for part in dotted.split("."):
        if not hasattr(found, part):
            raise ModuleNotFoundError(
                f"No module named 'tensorflow.{dotted}': Keras has no '{part}' there", name=f"tensorflow.{dotted}"
            )
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]
