"""Which Keras backends are installed here, and which one to use. Imports no framework.

A Keras process has one backend, fixed when Keras is imported; so the choice is made from settings alone, before any import.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Literal

from epochwise.errors import BackendMissingError, UsageError

Backend = Literal["tensorflow", "jax", "torch", "pytorch"]
"""``tensorflow``, ``jax`` and ``torch`` are backends of Keras; ``pytorch`` is a plain ``torch.nn.Module`` without Keras."""

KERAS_BACKENDS: tuple[Backend, ...] = ("tensorflow", "jax", "torch")
"""The backends of Keras that epochwise measures, in the order in which it tries them."""

PLAIN_PYTORCH: Backend = "pytorch"
"""A ``torch.nn.Module`` trained by an ordinary loop, without Keras."""


def installed_backends() -> tuple[Backend, ...]:
    """Those of ``tensorflow``, ``jax``, ``torch`` that can be imported here, in that order. Nothing is imported to find out."""
    return tuple(backend for backend in KERAS_BACKENDS if is_installed(backend))


def is_installed(module: str) -> bool:
    """Whether a top-level module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: a half-made module in sys.modules
        return False


def choose_backend(requested: str | None) -> Backend:
    """The backend to use: the one asked for, else the user's settings, else the first that is installed.

    Args:
        requested: ``tensorflow``, ``jax``, ``torch``, or ``pytorch`` for plain PyTorch; ``None`` looks at ``KERAS_BACKEND``,
            then at Keras's own configuration file, then at what is installed. The configuration file is Keras's default
            rather than anybody's choice, so a backend that it names and that is not installed is passed over.

    Raises:
        UsageError: there is no backend of that name.
        BackendMissingError: it is not installed; the message holds the line that installs it.
    """
    if requested is not None:
        return _checked(requested, "--backend")
    from_environment = os.environ.get("KERAS_BACKEND", "")
    if from_environment:
        return _checked(from_environment, "the environment variable KERAS_BACKEND")
    installed = installed_backends()
    from_file = _configured_backend()
    if installed:
        return next((backend for backend in installed if backend == from_file), installed[0])
    raise BackendMissingError(
        "No backend of Keras is installed: none of tensorflow, jax, torch can be imported.",
        cause="epochwise was installed without one of its extras.",
        remedy="pip install 'epochwise[torch]'   (or [jax], or [tensorflow])",
    )


def bind_keras(backend: str) -> None:
    """Say which backend Keras must use, to be called before Keras is imported.

    Raises:
        UsageError: Keras has been imported already, with another backend.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
        return
    bound = sys.modules["keras"].backend.backend()
    if bound != backend:
        raise UsageError(
            f"The backend {backend} was asked for, but Keras runs on {bound} in this process.",
            cause="Keras takes its backend when it is first imported, and keeps it.",
            remedy=f"KERAS_BACKEND={backend} python ...   (a process of its own)",
        )


def _checked(backend: str, where: str) -> Backend:
    known = next((each for each in (*KERAS_BACKENDS, PLAIN_PYTORCH) if each == backend), None)
    if known is None:
        raise UsageError(
            f"{where} names the backend '{backend}', which epochwise does not know.",
            cause=f"It must be one of {', '.join(KERAS_BACKENDS)}, or {PLAIN_PYTORCH} for a torch.nn.Module.",
            remedy="--backend " + (installed_backends() or KERAS_BACKENDS)[0],
        )
    package = "torch" if backend == PLAIN_PYTORCH else backend
    if not is_installed(package):
        others = ", ".join(installed_backends())
        raise BackendMissingError(
            f"{where} names {backend}, but {package} is not installed here"
            + (f" (installed: {others})." if others else " (nor is any other backend)."),
            cause="Keras is installed without a backend; each backend is a package of its own.",
            remedy=f"pip install {package}   (or, with epochwise: pip install 'epochwise[{package}]')",
        )
    return known


def _configured_backend() -> str:
    """What Keras's configuration file says; empty where there is none or it cannot be read."""
    home = os.environ.get("KERAS_HOME")
    folder = Path(home) if home else Path("~").expanduser() / ".keras"
    try:
        settings = json.loads((folder / "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    found = settings.get("backend") if isinstance(settings, dict) else None
    return found if isinstance(found, str) else ""
