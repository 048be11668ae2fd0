"""The one place that says which trainer trains a network."""

from __future__ import annotations

from epochwise.engine.compiled import CompiledTrainer
from epochwise.engine.network import Network, State
from epochwise.engine.trainer import Trainer
from epochwise.machines.host import host


def trainer_for(network: Network, state: State, threads: int | None = None) -> Trainer:
    """A trainer of this network that works on the arrays of this state.

    Args:
        network: what is trained.
        state: its weights and the optimizer's arrays, trained in place.
        threads: how many to use at most; ``None`` for as many as there are cores to use.
    """
    return CompiledTrainer(network, state, threads or host().cores)
