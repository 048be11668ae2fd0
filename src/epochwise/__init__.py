"""epochwise tells why an epoch of training takes as long as it does, what that time buys, and how to get it back.

The verbs are functions, and each returns a record::

    epochwise.count(model)                            what a training step costs, layer by layer; nothing is run
    epochwise.explain(model, x, y)                    where an epoch goes, and what it could be
    epochwise.compare({"mlp": a, "cnn": b}, x, y)     why the second takes k times the first
    epochwise.callbacks.Explain()                     the same inside your own model.fit
    epochwise.watch()                                 and around your own loop of PyTorch or JAX
    epochwise.fit(model, x, y, epochs=5)              train with the engine
    epochwise.evidence("a.py:mlp", "a.py:cnn")        what the extra time of the second buys, by experiments
    epochwise.machine()                               what this computer can do
    epochwise.demo()                                  the question that started it, answered here
    epochwise.load("result.json")                     a saved result

Every record has ``.to_json()``, and shows itself in a notebook. Importing epochwise imports no framework: names are looked
up when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epochwise import callbacks
    from epochwise.counting import count
    from epochwise.counting.counts import Counts
    from epochwise.engine.fit import fit
    from epochwise.errors import EpochwiseError
    from epochwise.experiments.evidence import evidence
    from epochwise.experiments.record import Evidence
    from epochwise.explaining.compare import compare
    from epochwise.explaining.demo import run_demo as demo
    from epochwise.explaining.explain import explain
    from epochwise.explaining.explanation import Comparison, Demo, Explanation
    from epochwise.machines import machine
    from epochwise.machines.machine import Machine
    from epochwise.observing.watching import watch
    from epochwise.reporting.records import load

__all__ = [
    "Comparison",
    "Counts",
    "Demo",
    "EpochwiseError",
    "Evidence",
    "Explanation",
    "Machine",
    "callbacks",
    "compare",
    "count",
    "demo",
    "evidence",
    "explain",
    "fit",
    "load",
    "machine",
    "watch",
]

_HOMES = {
    "Comparison": ("explaining.explanation", "Comparison"),
    "Counts": ("counting.counts", "Counts"),
    "Demo": ("explaining.explanation", "Demo"),
    "EpochwiseError": ("errors", "EpochwiseError"),
    "Evidence": ("experiments.record", "Evidence"),
    "Explanation": ("explaining.explanation", "Explanation"),
    "Machine": ("machines.machine", "Machine"),
    "callbacks": ("callbacks", ""),
    "compare": ("explaining.compare", "compare"),
    "count": ("counting", "count"),
    "demo": ("explaining.demo", "run_demo"),
    "evidence": ("experiments.evidence", "evidence"),
    "explain": ("explaining.explain", "explain"),
    "fit": ("engine.fit", "fit"),
    "load": ("reporting.records", "load"),
    "machine": ("machines", "machine"),
    "watch": ("observing.watching", "watch"),
}
"""Module and name behind each public name; no name for a module itself."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'epochwise' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    home = importlib.import_module(f"epochwise.{module}")
    found: object = getattr(home, attribute) if attribute else home
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
