"""Shared by all tests: which backends are installed, and small subjects to test on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from epochwise.errors import DataNotFoundError
from epochwise.subjects import fashion_mnist

BACKEND_MODULES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


def installed(backend: str) -> bool:
    """Whether a backend can be imported here."""
    return importlib.util.find_spec(BACKEND_MODULES[backend]) is not None


def fashion_mnist_is_here() -> bool:
    """Whether the real data are on this machine; nothing is downloaded for tests (`make test` tries before it runs them)."""

    def refuse(address: str, known_hash: str, folder: Path) -> Path:
        raise OSError(f"tests do not download {address}")

    try:
        fashion_mnist.locate(download=refuse)
    except DataNotFoundError:
        return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked with a backend, or with the real data, are left out where that is missing."""
    data = fashion_mnist_is_here()
    for item in items:
        if item.get_closest_marker("fashion_mnist") and not data:
            item.add_marker(pytest.mark.skip(reason="Fashion-MNIST is not on this machine"))
        for backend in BACKEND_MODULES:
            if item.get_closest_marker(backend) and not installed(backend):
                item.add_marker(pytest.mark.skip(reason=f"{backend} is not installed"))
