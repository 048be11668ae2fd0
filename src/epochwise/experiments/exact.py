"""A check that holds exactly: a dense network does not know in which order its inputs come.

Two copies of a model see the same batches, one of them with the pixels of every image in another order, and with the rows of
its first weights in that order too. In double precision all their losses are then the same to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from epochwise.experiments import data
from epochwise.experiments.study import BATCH, Study
from epochwise.subjects.backends import bind_keras
from epochwise.trials.trial import Outcome, Trial

if TYPE_CHECKING:
    from epochwise.engine.network import Network

RUN = "epochwise.experiments.exact:permutation"
STEPS = 200

_SECONDS = 3.0


def trials(study: Study) -> list[Trial]:
    """The check of the study's first model."""
    arguments = {
        "model": dict(study.models[0]),
        "data": study.described(),
        "seed": study.first_seed,
        "backend": study.backend,
        "steps": STEPS,
        "batch_size": BATCH,
        "learning_rate": 0.01,
    }
    return [Trial(run=RUN, arguments=arguments, cost=_SECONDS)]


def permutation(arguments: Mapping[str, Any]) -> Outcome:
    """Losses of both copies; ``applies`` is false where the model's first weights are not those of a dense layer."""
    bind_keras(str(arguments["backend"]))
    from epochwise.engine.keras import read
    from epochwise.engine.network import State
    from epochwise.engine.trainer import Data
    from epochwise.engine.twin.trainer import PlainTrainer
    from epochwise.experiments.models.keras import build

    seed, batch_size, steps = (int(arguments[name]) for name in ("seed", "batch_size", "steps"))
    task = data.Task(arguments["data"], seed)
    model = build(arguments["model"], task.input_shape, task.classes, seed=seed)
    reading = read(model)[0]
    first = None if reading is None else first_dense(reading.network)
    if reading is None or first is None:
        return Outcome(numbers={"applies": False})
    state = reading.state()
    weights = [array.copy() for array in state.weights]
    rows = weights[first].reshape(-1, task.input_shape[2], weights[first].shape[-1])
    weights[first] = rows[data.pixel_order(1, task.input_shape)].reshape(weights[first].shape)
    trainers = (
        PlainTrainer(reading.network, state, np.float64),
        PlainTrainer(reading.network, State(weights, state.slots), np.float64),
    )
    rate = np.full(1, arguments["learning_rate"], np.float32)
    losses: list[tuple[float, float]] = []
    for places in task.order(steps, batch_size):
        x, y = task.shown(places), task.y[places]
        here = np.arange(len(places), dtype=np.int64)
        each = (
            trainer.train(Data(shown, y), here, batch_size, rate).loss / len(places)
            for trainer, shown in zip(trainers, (x, data.permuted(x, 1)), strict=True)
        )
        losses.append(tuple(each))  # type: ignore[arg-type]
    found = np.array(losses)
    apart = np.abs(found[:, 0] - found[:, 1]) / np.abs(found[:, 0])
    return Outcome(numbers={"applies": True, "steps": steps, "largest": float(apart.max())}, engine="plain")


def first_dense(network: Network) -> int | None:
    """Number of the weights that meet the pixels first, if that is in a dense layer over all of them."""
    from epochwise.engine.network import Dense, Reshape

    tensor = network.input
    for operation in network.operations:
        if tensor not in operation.inputs:
            continue
        if isinstance(operation, Reshape) and len(network.shapes[operation.output]) == 1:
            tensor = operation.output
        elif isinstance(operation, Dense) and len(network.shapes[tensor]) == 1:
            return operation.kernel
        else:
            return None
    return None
