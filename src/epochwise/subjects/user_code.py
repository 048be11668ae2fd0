"""Running the user's own code: loading a file or module, calling a function in it, and saying what went wrong in its terms.

What the code prints goes to standard error, so that standard output stays for results. An error in it is reported with the
frames of the user's own files only.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from epochwise.errors import EpochwiseError, ModelFailedError, ModelNotFoundError
from epochwise.subjects.backends import bind_keras
from epochwise.subjects.models import ModelSpec, find_module
from epochwise.subjects.stand_in import is_library, tensorflow_stand_in

_OWN_FOLDER = Path(__file__).resolve().parent
_RENAMED = "_of_user"
_LONGEST_MESSAGE = 1500  # characters of an exception's own text that are shown


@contextlib.contextmanager
def running(spec: ModelSpec, backend: str) -> Iterator[None]:
    """While open, user code runs as it would from its own folder, with ``tf.keras`` answered on every backend.

    Raises:
        ModelFailedError: whatever the user's code raises leaves as this; errors of epochwise pass as they are.
    """
    folder = Path(spec.file).expanduser().absolute().parent if spec.file else Path.cwd()
    stem = Path(spec.file).stem if spec.file else str(spec.module).partition(".")[0]
    # Our own folder has files named after the frameworks; on the path they would hide them.
    added = None if folder.resolve() == _OWN_FOLDER else str(folder)
    if added is not None:
        sys.path.insert(0, added)
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),
            tensorflow_stand_in(lambda: _keras(backend), backend=backend, packages=(stem, stem + _RENAMED)),
        ):
            yield
    except EpochwiseError:
        raise
    except (Exception, SystemExit) as problem:
        raise failed(spec.text, problem, file=spec.file) from problem
    finally:
        if added in sys.path:
            sys.path.remove(added)


def _keras(backend: str) -> types.ModuleType:
    bind_keras(backend)
    from epochwise.subjects import keras

    return keras.PUBLIC


def load_module(spec: ModelSpec) -> types.ModuleType:
    """Import the file or module that a MODEL string names. To be used inside :func:`running`."""
    if spec.file is None:
        return importlib.import_module(str(spec.module))
    path = Path(spec.file).expanduser().absolute()
    name = path.stem
    known = sys.modules.get(name)
    if name in sys.stdlib_module_names or (known is not None and getattr(known, "__file__", None) != str(path)):
        name += _RENAMED  # never take the place of a library
    made = importlib.util.spec_from_file_location(name, path)
    assert made is not None, "the path ends in .py"
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    sys.modules[name] = module  # dataclasses, pickling and Keras's registry look the module up by name
    try:
        made.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def function_of(spec: ModelSpec, module: types.ModuleType) -> Callable[..., Any]:
    """The function that the MODEL string names.

    Raises:
        ModelNotFoundError: loading the file did not define it, or it cannot be called.
    """
    found = getattr(module, str(spec.function), None)
    if found is None:
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise ModelNotFoundError(
            f"There is no function '{spec.function}' in {spec.source} after running it.",
            cause=f"It defines {', '.join(names[:12])}." if names else "It defines no function.",
            remedy=f"{spec.source}:{names[0] if names else 'function'}",
        )
    if not callable(found):
        raise ModelNotFoundError(
            f"'{spec.function}' in {spec.source} is not a function; it is of type {type(found).__name__}.",
            cause="MODEL names the function that makes the model.",
            remedy=f"def {spec.function}(): ...",
        )
    return found  # type: ignore[no-any-return]


def imported_packages(spec: ModelSpec) -> set[str]:
    """Top-level packages that the user's file imports anywhere in its source; empty where it has none to read."""
    path = Path(spec.file).expanduser() if spec.file else find_module(str(spec.module))
    try:
        tree = ast.parse(path.read_bytes()) if path is not None else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def failed(label: str, problem: BaseException, *, file: str | None = None) -> ModelFailedError:
    """The error to report for an exception in user code, with the frames of the user's own files only.

    Args:
        label: what was run, as the user wrote it.
        problem: what it raised.
        file: the user's file, whose frames are shown wherever it lies.
    """
    own = None if file is None else str(Path(file).expanduser().absolute())
    every = traceback.extract_tb(problem.__traceback__)
    frames = [frame for frame in every if frame.filename == own or _is_users(frame.filename)]
    said = "".join(traceback.format_exception_only(problem)).rstrip()
    if len(said) > _LONGEST_MESSAGE:
        said = said[:_LONGEST_MESSAGE].rstrip() + " ..."
    lines = [f"{label} raised {type(problem).__name__}. Its traceback, without the frames of libraries:"]
    if frames:
        lines.append("".join(traceback.format_list(frames)).rstrip())
    return ModelFailedError("\n".join([*lines, said]), cause=_likely_cause(problem))


def _likely_cause(problem: BaseException) -> str:
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        return f"'{problem.name.partition('.')[0]}' is not installed in the environment that runs epochwise."
    if isinstance(problem, SystemExit):
        return 'The file ends the program when it is imported; put that part under `if __name__ == "__main__":`.'
    return ""


def _is_users(file: str) -> bool:
    return not file.startswith("<") and not is_library(file) and not Path(file).is_relative_to(_OWN_FOLDER.parent)
