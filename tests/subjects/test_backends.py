"""Which backend is used."""

from __future__ import annotations

import json

import pytest

from epochwise.errors import BackendMissingError, UsageError
from epochwise.subjects import backends
from epochwise.subjects.backends import choose_backend, installed_backends


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Pretends that these are installed, and that nothing is configured."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def pretend(*names):
        monkeypatch.setattr(backends, "is_installed", lambda name: name in names)

    return pretend


def test_order_of_backends(installed):
    """Installed backends are listed in a fixed order."""
    installed("torch", "tensorflow")
    assert installed_backends() == ("tensorflow", "torch")


def test_choice(installed, monkeypatch, tmp_path):
    """What was asked for comes first, then KERAS_BACKEND, then Keras's configuration file, then the first installed one."""
    installed("tensorflow", "jax", "torch")
    assert choose_backend(None) == "tensorflow"
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    assert choose_backend(None) == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert choose_backend(None) == "jax"
    assert choose_backend("pytorch") == "pytorch"


def test_configured_backend_that_is_not_installed(installed, tmp_path):
    """Keras writes tensorflow into its configuration file by itself: that is no reason to fail."""
    installed("jax")
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "tensorflow"}))
    assert choose_backend(None) == "jax"
    (tmp_path / "keras.json").write_text("{broken")
    assert choose_backend(None) == "jax"


def test_missing_backend_says_what_installs_it(installed, monkeypatch):
    """A backend that is not installed is refused with the line that installs it."""
    installed("jax")
    with pytest.raises(BackendMissingError, match="--backend names torch, but torch is not installed here") as caught:
        choose_backend("torch")
    assert "(installed: jax)" in caught.value.what
    assert "pip install torch" in caught.value.remedy
    assert "epochwise[torch]" in caught.value.remedy
    with pytest.raises(BackendMissingError, match="torch is not installed"):
        choose_backend("pytorch")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(BackendMissingError, match="variable KERAS_BACKEND names tensorflow"):
        choose_backend(None)


def test_no_backend_at_all(installed):
    """Without any backend the message says how to get one."""
    installed()
    with pytest.raises(BackendMissingError, match="No backend of Keras") as caught:
        choose_backend(None)
    assert "epochwise[torch]" in caught.value.remedy


def test_unknown_backend(installed):
    """A name that is no backend is a slip in the command."""
    installed("jax")
    with pytest.raises(UsageError, match="'theano'") as caught:
        choose_backend("theano")
    assert "tensorflow, jax, torch" in caught.value.cause
    assert caught.value.remedy == "--backend jax"
