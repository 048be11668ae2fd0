"""The trainings of P0, as trials: the published models on MNIST-1D, trained as those who published them did.

Its arguments: ``model`` (``cnn``, ``mlp`` or ``linear``), ``shuffled``, ``seed`` (of data, order of places, and weights) and
``backend``. What comes out, in ``numbers``: ``parameters``, and ``accuracy`` on the 1,000 test samples after the steps in
:data:`TESTED_AFTER`.

As in the authors' code: Adam with a learning rate of 0.01, batches of 100, 6,000 steps, samples always in the same order, and
weights and biases drawn as PyTorch draws them. None of this is tuned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from epochwise.experiments.mnist1d import mnist1d
from epochwise.subjects.backends import bind_keras
from epochwise.trials.trial import Outcome

RUN = "epochwise.experiments.control:train"
RECIPE = 1
BATCH = 100
TESTED_AFTER = (5500, 5750, 6000)
"""Steps; the authors test every 250, and the last three are taken together."""


def train(arguments: Mapping[str, Any]) -> Outcome:
    """Run one trial; see the top of the file."""
    bind_keras(str(arguments["backend"]))
    from epochwise.experiments.control.keras import build
    from epochwise.experiments.learners.keras import learner_for

    name, seed = str(arguments["model"]), int(arguments["seed"])
    data = mnist1d(seed, bool(arguments["shuffled"]))
    model = build(name, seed)
    learner = learner_for(model, "engine", BATCH)
    shape = model.input_shape[1:]
    x, x_test = (each.reshape(-1, *shape) for each in (data.x_train, data.x_test))
    order = np.tile(np.arange(len(x), dtype=np.int64), -(-TESTED_AFTER[-1] * BATCH // len(x)))
    done, accuracies = 0, []
    for step in TESTED_AFTER:
        learner.train(x, data.y_train, order[done * BATCH : step * BATCH], BATCH)
        accuracies.append(float(learner.correct(x_test, data.y_test).mean()))
        done = step
    return Outcome(numbers={"parameters": int(model.count_params()), "accuracy": accuracies}, engine=learner.name)
