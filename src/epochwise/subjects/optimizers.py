"""Optimizers by name, for models that were not given one, and for the question what another one would cost."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from epochwise.errors import UsageError

MOMENTUM = "momentum"
"""Stochastic gradient descent with a momentum of 0.9, which has no class of its own."""


def kind_named(name: str, kinds: Mapping[str, Any], framework: str) -> tuple[Any, dict[str, Any]]:
    """The class that a name stands for, in capitals or not, and the arguments that the name stands for.

    Args:
        name: ``sgd``, ``momentum``, ``adam``, ``adamw``, ``adafactor``, ``lion`` or any other class of the framework.
        kinds: the framework's classes by name.
        framework: what has them, for the message.

    Raises:
        UsageError: the framework has no such optimizer.
    """
    known = {kind.lower(): found for kind, found in kinds.items()}
    plain = name.strip().lower()
    if plain == MOMENTUM:
        return known["sgd"], {"momentum": 0.9}
    if plain in known:
        return known[plain], {}
    listed = sorted([*known, MOMENTUM])
    near = difflib.get_close_matches(plain, listed, n=1)
    raise UsageError(
        f"{framework} has no optimizer {name!r}. It has {', '.join(listed)}.",
        cause=f"Did you mean {near[0]}?" if near else "an optimizer of another library, which only your own code can make",
        remedy=f"--optimizer {near[0] if near else 'adamw'}",
    )
