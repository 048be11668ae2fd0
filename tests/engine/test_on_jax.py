"""The Keras side of the engine on JAX."""

from __future__ import annotations

from tests.engine.backends import checks_on, worker_on

worker = worker_on("jax")
test_check = checks_on("jax")
