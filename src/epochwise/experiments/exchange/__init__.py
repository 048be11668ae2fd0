"""The trials of P10: what a model's step costs, and what it takes to exchange its gradient. Nothing is learnt in them.

``cost_of`` takes ``model`` (a name of :data:`NAMES`), ``batch_size`` and ``backend``. Numbers: the counts of one training step,
see :func:`_counted`. Measured: ``step_seconds`` of the engine on one core.

``exchange`` takes ``sizes``, numbers of parameters. Numbers: ``bytes`` that each of two workers sent. Measured: ``seconds``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from epochwise.subjects.backends import bind_keras
from epochwise.trials.trial import Outcome

COST_RUN = "epochwise.experiments.exchange:cost_of"
EXCHANGE_RUN = "epochwise.experiments.exchange:exchange"
RECIPE = 3
OF_THE_QUESTION = {"mlp": "MLP 64-64", "cnn": "CNN 16-8", "mlp_233": "MLP 233-233", "lcn": "locally connected 16-8"}
WELL_KNOWN = {"alexnet": "AlexNet", "resnet50": "ResNet50", "vgg16": "VGG16"}
NAMES = {**OF_THE_QUESTION, **WELL_KNOWN}
"""What is compared, by name, and what charts call it."""


def cost_of(arguments: Mapping[str, Any]) -> Outcome:
    """Count one training step of a model, and time some."""
    bind_keras(str(arguments["backend"]))
    from epochwise.experiments.exchange.keras import built, counted, step_seconds

    name, batch_size = str(arguments["model"]), int(arguments["batch_size"])
    model = built(name)
    numbers = counted(model, batch_size)
    return Outcome(numbers=numbers, measured={"step_seconds": step_seconds(model, batch_size)}, engine="engine")


def exchange(arguments: Mapping[str, Any]) -> Outcome:
    """All-reduce vectors between two processes of this machine."""
    from epochwise.experiments.exchange.ring import measured

    seconds, sent = measured([int(size) for size in arguments["sizes"]])
    return Outcome(numbers={"bytes": sent}, measured={"seconds": seconds})
