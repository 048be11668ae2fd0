"""Shared by all tests: which backends are installed, and which tests need the machine for themselves."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import msgspec
import pytest

from epochwise.errors import DataNotFoundError
from epochwise.machines import store
from epochwise.machines.host import host
from epochwise.subjects import fashion_mnist
from tests.explaining import samples

ALONE = (
    "cli/test_compare",
    "cli/test_explain",
    "cli/test_machine",
    "engine/test_interrupts",
    "explaining/test_cases_measured",
    "explaining/test_what_if_batch",
    "machines/",
    "measuring/",
    "observing/",
)
"""Where tests begin that look at times or at the load of the machine: they are marked ``alone``."""

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


@pytest.fixture(scope="session")
def kept_machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which this computer's peaks are known already, so that a process need not measure them.

    The figures are invented, for tests that do not look at them.
    """
    folder = tmp_path_factory.mktemp("machine")
    invented = msgspec.structs.replace(samples.machine(1e11, 1e10), name="invented", fingerprint=host().fingerprint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPOCHWISE_CACHE", str(folder))
        assert store.save(invented) == []
    return {**os.environ, "EPOCHWISE_CACHE": str(folder)}


def pytest_configure() -> None:
    """Ctrl-C has its usual effect, also in processes that tests start: a shell starts what runs in the background without."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest looks at -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked with a backend, or with the real data, are left out where that is missing; some are marked ``alone``."""
    data = fashion_mnist_is_here()
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).as_posix().startswith(ALONE):
            item.add_marker(pytest.mark.alone)
        if item.get_closest_marker("fashion_mnist") and not data:
            item.add_marker(pytest.mark.skip(reason="Fashion-MNIST is not on this machine"))
        for backend in BACKEND_MODULES:
            if item.get_closest_marker(backend) and not installed(backend):
                item.add_marker(pytest.mark.skip(reason=f"{backend} is not installed"))
