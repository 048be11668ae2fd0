"""What the records of benchmarks have in common: when, on what machine, with which versions; and the data they train on."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from pathlib import Path
from typing import Any

PACKAGES = ("epochwise", "keras", "jax", "tensorflow-cpu", "torch", "llvmlite", "numpy")


def write(path: Path, **content: Any) -> None:
    """Keep a record."""
    path.write_text(json.dumps({**facts(), **content}, indent=1) + "\n")


def facts() -> dict[str, Any]:
    """Date, machine, versions."""
    from epochwise.machines.host import host

    here = host()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"name": here.name, "cores": here.cores, "memory_bytes": here.memory_bytes},
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def fashion_mnist() -> Any:
    """The real Fashion-MNIST, with a channel axis; an error says where it was looked for if it is not there."""
    import dataclasses

    from epochwise.subjects.datasets import DataSpec, load_data

    held = load_data(DataSpec("fashion-mnist"))
    return dataclasses.replace(held, x=held.x.reshape(-1, 28, 28, 1), x_test=held.x_test.reshape(-1, 28, 28, 1))
