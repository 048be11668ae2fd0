"""The Keras side of the engine on TensorFlow."""

from __future__ import annotations

from tests.engine.backends import checks_on, worker_on

worker = worker_on("tensorflow")
test_check = checks_on("tensorflow")
