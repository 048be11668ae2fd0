"""The Keras side on every backend: what each check promises stands in its own docstring, in the folder ``on_keras``."""

from __future__ import annotations

import pytest

from tests.engine.backends import Workers, on_backends


@pytest.fixture(scope="module")
def workers():
    started = Workers()
    yield started
    started.close()


def passes(workers, backend, topic, check, case):
    told = workers.ask(backend, {"topic": topic, "check": check, "case": case})
    assert "error" not in told, told["error"]


@on_backends("layers")
def test_layers(workers, backend, check, case):
    """Every layer and option: forward, loss, gradients and running statistics are Keras's own."""
    passes(workers, backend, "layers", check, case)


@on_backends("settings")
def test_settings(workers, backend, check, case):
    """Losses, metrics and optimizers with all their options: a step is Keras's own, and so are hundreds of them."""
    passes(workers, backend, "settings", check, case)


@on_backends("fitting")
def test_fitting(workers, backend, check, case):
    """``epochwise.fit`` against ``model.fit``."""
    passes(workers, backend, "fitting", check, case)


@on_backends("support")
def test_support(workers, backend, check, case):
    """What is not covered, and how that is said."""
    passes(workers, backend, "support", check, case)


@on_backends("many")
def test_many(workers, backend, check, case):
    """``epochwise.engine.fit_many`` against ``epochwise.fit``."""
    passes(workers, backend, "many", check, case)
