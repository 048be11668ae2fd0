"""Over hundreds of steps rounding grows: the engine stays as near to Keras as Keras on one backend is to Keras on another."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tests.engine.backends import BACKENDS, Worker

OPTIMIZERS = ("adam", "nesterov", "sgd", "momentum", "sgd_decay", "adamw", "clipped")
QUICK = 2
"""As many are run in any event, the rest by `make test-long`."""


@pytest.fixture(scope="module")
def workers():
    started = {backend: Worker(backend) for backend in BACKENDS}
    yield started
    for worker in started.values():
        worker.close()


@pytest.mark.tensorflow
@pytest.mark.jax
@pytest.mark.torch
@pytest.mark.parametrize(
    "optimizer", [pytest.param(name, marks=pytest.mark.long if n >= QUICK else ()) for n, name in enumerate(OPTIMIZERS)]
)
def test_three_hundred_steps(workers, optimizer):
    """The loss of each epoch differs from Keras's by at most twice the most by which two backends of Keras differ."""
    courses = {}
    for backend in BACKENDS:
        answer = workers[backend].ask({"topic": "hundreds", "check": "course", "case": optimizer})
        assert "error" not in answer, answer["error"]
        courses[backend] = np.array(answer["told"])
    apart = max(np.abs(courses[one][0] - courses[other][0]).max() for one, other in combinations(BACKENDS, 2))
    for backend, (by_keras, by_engine) in courses.items():
        assert by_keras[-1] < 0.7 * by_keras[0], "it learns nothing, so nothing is compared"
        assert np.abs(by_engine - by_keras).max() <= 2 * apart, f"{backend}: {np.abs(by_engine - by_keras).max()} and {apart}"
