"""The Keras side of the engine on PyTorch."""

from __future__ import annotations

from tests.engine.backends import checks_on, worker_on

worker = worker_on("torch")
test_check = checks_on("torch")
