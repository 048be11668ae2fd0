"""Shared by all tests: which backends are installed, and small subjects to test on."""

from __future__ import annotations

import importlib.util

import pytest

BACKEND_MODULES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


def installed(backend: str) -> bool:
    """Whether a backend can be imported here."""
    return importlib.util.find_spec(BACKEND_MODULES[backend]) is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked with a backend are left out where that backend is not installed."""
    for item in items:
        for backend in BACKEND_MODULES:
            if item.get_closest_marker(backend) and not installed(backend):
                item.add_marker(pytest.mark.skip(reason=f"{backend} is not installed"))
