"""MODEL strings: where a model comes from, as the user writes it. Imports no framework and runs nothing of the user's.

::

    file.py:function                a function in a file
    package.module:function         a function in an installed or local module
    ...:function(keyword=literal)   either, with keyword arguments
    model.keras                     a saved Keras model

Whether the file and the function exist is found by reading the source (its syntax tree), not by running it.
"""

from __future__ import annotations

import ast
import difflib
import importlib.machinery
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from epochwise.errors import ModelNotFoundError, UsageError

_FORMS = "file.py:function, package.module:function, either with (keyword=literal, ...), or a .keras file"
_TARGET = re.compile(r"^(?P<where>.+?):(?P<function>[^\W\d]\w*)\s*(?P<call>\(.*\))?$", re.DOTALL)


class ModelSpec(msgspec.Struct, frozen=True):
    """Where a model comes from.

    Attributes:
        text: the MODEL string as written.
        file: path of the Python file, for ``file.py:function``.
        module: dotted name, for ``package.module:function``.
        function: name of the function (or class) that makes the model.
        arguments: keyword arguments given in the MODEL string.
        keras_file: path of the ``.keras`` file.
    """

    text: str
    file: str | None = None
    module: str | None = None
    function: str | None = None
    arguments: dict[str, Any] = {}
    keras_file: str | None = None

    @property
    def name(self) -> str:
        """A short readable name: ``build_model_cnn``, ``build(depth=3)``, or the stem of the ``.keras`` file."""
        if self.keras_file is not None:
            return Path(self.keras_file).stem
        inside = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.function}({inside})" if inside else str(self.function)

    @property
    def source(self) -> str:
        """The file or module, as messages name it."""
        return str(self.keras_file or self.file or self.module)


def parse_model(text: str) -> ModelSpec:
    """Read a MODEL string and check that what it names is there.

    Raises:
        UsageError: it has none of the forms of a MODEL string, or its arguments are not literals.
        ModelNotFoundError: there is no such file, module or function; the message names near matches.
    """
    text = text.strip()
    if text.endswith(".keras"):
        _existing_file(text, what="MODEL", suffix=".keras")
        return ModelSpec(text=text, keras_file=text)
    return parse_target(text, what="MODEL")


def parse_target(text: str, *, what: str) -> ModelSpec:
    """Read ``file.py:function`` or ``package.module:function`` and check that it is there.

    Args:
        text: as the user wrote it.
        what: what the text stands for, in messages: ``MODEL`` or ``--data``.

    Raises:
        UsageError: not of that form.
        ModelNotFoundError: no such file, module or function.
    """
    found = _TARGET.match(text)
    if found is None:
        raise _malformed(text, what)
    where, function = found["where"], found["function"]
    arguments = _arguments(text, found["call"], what)
    if where.endswith(".py") or "/" in where or "\\" in where:
        path = _existing_file(where, what=what, suffix=".py")
        _check_function(path, function, text)
        return ModelSpec(text=text, file=where, function=function, arguments=arguments)
    if not all(part.isidentifier() for part in where.split(".")):
        raise _malformed(text, what)
    source = find_module(where)
    if source is None:
        raise _no_module(where, function, what)
    if source.suffix == ".py":
        _check_function(source, function, text)
    return ModelSpec(text=text, module=where, function=function, arguments=arguments)


def find_module(dotted: str) -> Path | None:
    """The file of a module, looked for as ``python`` would from the current folder; no parent package is run.

    Modules without a file (built-in ones) and namespace packages give the path of what was found, or ``None``.
    """
    places: list[str] = [str(Path.cwd()), *sys.path]
    importlib.machinery.PathFinder.invalidate_caches()
    spec: importlib.machinery.ModuleSpec | None = None
    name = ""
    for part in dotted.split("."):
        name = f"{name}.{part}" if name else part
        spec = importlib.machinery.PathFinder.find_spec(name, places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    if spec is None:
        return None
    return Path(spec.origin) if spec.origin else next(map(Path, places), None)


def defined_names(path: Path) -> tuple[list[str], list[str], bool]:
    """Names bound at the top of a Python file, and whether there may be more than can be read off it.

    Returns:
        Functions and classes in the order of the file; other names (imported, assigned); ``True`` where the file has
        ``import *``, a module-level ``__getattr__``, or cannot be parsed (running it will say why).
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return [], [], True
    made: list[str] = []
    other: list[str] = []
    more = _bindings(tree.body, made, other)
    return made, other, more or "__getattr__" in made


def _bindings(body: list[ast.stmt], made: list[str], other: list[str]) -> bool:
    more = False
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.append(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            more |= any(alias.name == "*" for alias in node.names)
            other.extend(alias.asname or alias.name.partition(".")[0] for alias in node.names)
            continue
        # `if`, `try`, `with`, `for` at the top bind in the module too; expressions cannot hide a function from us.
        names = (child for child in ast.walk(node) if isinstance(child, ast.Name))
        other.extend(name.id for name in names if isinstance(name.ctx, ast.Store))
        inner = [getattr(node, field, []) for field in ("body", "orelse", "finalbody")]
        inner += [part.body for part in (*getattr(node, "handlers", []), *getattr(node, "cases", []))]
        for block in inner:
            more |= _bindings(block, made, other)
    return more


def _arguments(text: str, call: str | None, what: str) -> dict[str, Any]:
    if call is None:
        return {}
    try:
        node = ast.parse(f"f{call}", mode="eval").body
        if not isinstance(node, ast.Call) or node.args:
            raise ValueError("positional arguments")
        pairs = [(keyword.arg, ast.literal_eval(keyword.value)) for keyword in node.keywords]
        if any(key is None for key, _ in pairs):
            raise ValueError("** is not a keyword")
    except (SyntaxError, ValueError, TypeError) as problem:
        raise UsageError(
            f"The arguments in {what} '{text}' cannot be read: {call}",
            cause="Only keyword=literal is understood: numbers, strings, True, False, None, tuples, lists, dictionaries.",
            remedy=f"'{text[: -len(call)]}(depth=3, activation=\"relu\")', in quotes because of the shell",
        ) from problem
    return {str(key): value for key, value in pairs}


def _malformed(text: str, what: str) -> UsageError:
    path = Path(text)
    if text.endswith(".py") and path.is_file():
        functions = [name for name in defined_names(path)[0] if not name.startswith("_")]
        return UsageError(
            f"{what} '{text}' names a file, but no function in it.",
            cause=f"The file defines {_listed(functions)}." if functions else "",
            remedy=f"{text}:{functions[0] if functions else 'function'}",
        )
    return UsageError(
        f"{what} '{text}' cannot be understood.",
        cause=f"It must be {_FORMS}." if what == "MODEL" else "It must be file.py:function or package.module:function.",
        remedy="examples/question.py:build_model_cnn",
    )


def _existing_file(text: str, *, what: str, suffix: str) -> Path:
    path = Path(text).expanduser()
    if path.is_file():
        return path
    near = near_files(path, suffix)
    raise ModelNotFoundError(
        f"{what} names the file '{text}', which does not exist." if not path.is_dir() else f"{what} names '{text}', a folder.",
        cause=f"A slip in the name, or another current folder: epochwise runs in {Path.cwd()}."
        + (f" Near it: {_listed(near)}." if near else ""),
        remedy=near[0] if near else f"ls {path.parent if path.parent.is_dir() else '.'}",
    )


def near_files(path: Path, suffix: str) -> list[str]:
    """Files beside ``path`` whose names are like its own, best first; at most three."""
    try:
        beside = [entry.name for entry in path.parent.iterdir() if entry.suffix == suffix]
    except OSError:
        return []
    return [str(path.parent / name) for name in difflib.get_close_matches(path.name, beside, n=3, cutoff=0.5)]


def _check_function(path: Path, function: str, text: str) -> None:
    made, other, more = defined_names(path)
    if more or function in made or function in other:
        return
    shown = [name for name in made if not name.startswith("_")]
    near = difflib.get_close_matches(function, [*made, *other], n=3, cutoff=0.5)
    raise ModelNotFoundError(
        f"There is no function '{function}' in {path}.",
        cause=(f"Did you mean {_listed(near, 'or')}? " if near else "")
        + (f"It defines {_listed(shown)}." if shown else "It defines no function."),
        remedy=text.replace(f":{function}", f":{(near or shown or ['function'])[0]}"),
    )


def _no_module(where: str, function: str, what: str) -> ModelNotFoundError:
    local = Path(where.replace(".", "/") + ".py")
    beside = [entry.stem for entry in Path.cwd().iterdir() if entry.suffix == ".py" or (entry / "__init__.py").is_file()]
    near = difflib.get_close_matches(where, beside, n=3, cutoff=0.5)
    return ModelNotFoundError(
        f"{what} names the module '{where}', which cannot be found.",
        cause=f"It is neither installed nor in the current folder, {Path.cwd()}."
        + (f" Near it: {_listed(near)}." if near else ""),
        remedy=f"{near[0]}:{function}" if near else f"{local}:{function}   (for a file, with .py)",
    )


def _listed(names: list[str], word: str = "and", most: int = 12) -> str:
    """``a, b and c``; long lists are cut, and say so."""
    if len(names) > most:
        return ", ".join(names[:most]) + f", and {len(names) - most} more"
    if len(names) <= 1:
        return "".join(names)
    return ", ".join(names[:-1]) + f" {word} {names[-1]}"
