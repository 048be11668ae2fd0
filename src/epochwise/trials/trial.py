"""What a trial is, and what comes out of it. Nothing is run here, and nothing of models or data is known."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

_RUN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, eq=False, kw_only=True)
class Trial:
    """The description of one training run (or of any other pure function): equal descriptions have equal results.

    Trials are compared and hashed by their ``key``, so a set of them holds no two alike.

    Args:
        run: ``package.module:function``. The function takes ``arguments`` and gives an :class:`Outcome`.
        arguments: JSON: dictionaries with text as keys, lists, text, finite numbers, true, false, none. 1 and 1.0 differ.
        recipe: of the function; raised when the same arguments mean something else from now on, so that results that were kept
            before are no longer taken for its results.
        cores: how many it keeps busy; a runner gives it as many, or all that it has. No part of the description either.
        cost: how long it will take relative to the others: seconds, or operations, in any unit. It decides about the order and
            the time left, and is no part of the description.

    Attributes:
        description: run, recipe and arguments as canonical JSON.
        key: SHA-256 of that, as 64 hexadecimal digits.

    Raises:
        TypeError: something in the arguments is no JSON; the message says where.
        ValueError: ``run`` is not of that form, a number is infinite or not a number, or cost or cores are not positive.
    """

    run: str
    arguments: Mapping[str, Any]
    recipe: int = 1
    cores: int = 1
    cost: float = 1.0
    description: str = field(init=False, repr=False)
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not _RUN.fullmatch(self.run):
            raise ValueError(f"A trial runs 'package.module:function', not {self.run!r}.")
        if self.cores < 1:
            raise ValueError(f"A trial keeps at least one core busy, not {self.cores!r}.")
        if not (math.isfinite(self.cost) and self.cost > 0):
            raise ValueError(f"The cost of a trial is a positive number, not {self.cost!r}.")
        arguments = dict(self.arguments)
        try:
            whole = {"run": self.run, "recipe": self.recipe, "arguments": arguments}
            description = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError):
            _check_json(arguments, "arguments")  # which says where
            raise
        # A copy, so that nobody changes the arguments behind the key's back.
        copy = json.loads(description)["arguments"]
        if copy != arguments:  # there are tuples, which may be, or other keys than text, which may not
            _check_json(arguments, "arguments")
        object.__setattr__(self, "arguments", MappingProxyType(copy))
        object.__setattr__(self, "description", description)
        object.__setattr__(self, "key", hashlib.sha256(description.encode()).hexdigest())

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Trial) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.run, dict(self.arguments), self.recipe, self.cores, self.cost)


def _again(run: str, arguments: dict[str, Any], recipe: int, cores: int, cost: float) -> Trial:
    return Trial(run=run, arguments=arguments, recipe=recipe, cores=cores, cost=cost)


def _check_json(value: object, place: str) -> None:
    if isinstance(value, Mapping):
        for name, part in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{place} has the key {name!r}; keys in a trial's arguments are text.")
            _check_json(part, f"{place}[{name!r}]")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            _check_json(part, f"{place}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}, which JSON cannot hold.")
    elif not (value is None or isinstance(value, str | bool | int | float)):
        raise TypeError(f"{place} is of type {type(value).__name__}; a trial's arguments are JSON, such as int(...) or a list.")


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What a trial's function gives back.

    ``numbers`` and ``arrays`` must be the same, bit for bit, whenever and wherever the trial is run. What cannot be, because a
    clock is in it, goes into ``measured``.

    Attributes:
        numbers: JSON, except that floats may also be infinite or not a number; NumPy's scalars become Python's.
        arrays: of any numeric, boolean or text type.
        measured: JSON, as ``numbers``: seconds per epoch, and the like.
        engine: what trained: ``engine``, ``keras``; empty where that makes no sense.
    """

    numbers: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    engine: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """An outcome that was kept, and where it comes from.

    Attributes:
        key: of the trial.
        numbers: see :class:`Outcome`; lists where there were tuples.
        arrays: read-only.
        measured: see :class:`Outcome`.
        engine: see :class:`Outcome`.
        digest: SHA-256 of numbers and arrays: the same digest, the same bits.
        seconds: how long the function ran, without what its module takes to import.
        version: of epochwise where it ran.
        machine: name of the processor on which it ran.
        backend: of Keras, as the runner set it; empty where it did not.
        finished_at: ISO 8601, UTC.
    """

    key: str
    numbers: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    measured: Mapping[str, Any]
    engine: str
    digest: str
    seconds: float
    version: str
    machine: str
    backend: str
    finished_at: str
