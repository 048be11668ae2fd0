"""The one place that says which trainer trains a network."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from epochwise.engine.compiled import CompiledTrainer
from epochwise.engine.network import Network, State
from epochwise.engine.trainer import Trainer
from epochwise.machines.host import host

_PATIENCE = 1.0
"""Seconds of compiling before anything is said."""


def _nothing() -> None:
    """What is called where nothing is to be done."""


def trainer_for(network: Network, state: State, threads: int | None = None, check: Callable[[], None] = _nothing) -> Trainer:
    """A trainer of this network that works on the arrays of this state.

    Args:
        network: what is trained.
        state: its weights and the optimizer's arrays, trained in place.
        threads: how many to use at most; ``None`` for as many as there are cores to use.
        check: is called between the kernels that are compiled; what it raises ends the compiling.
    """
    return CompiledTrainer(network, state, threads or host().cores, progress=_Told(check))


class _Told:
    """Says on standard error how far the compiling of kernels is, where it takes more than a moment."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._began = time.perf_counter()
        self._said = False

    def __call__(self, done: int, of: int) -> None:
        self._check()
        if done == 0:
            self._began = time.perf_counter()
        if self._said or time.perf_counter() - self._began > _PATIENCE:
            self._said = done < of
            end = "" if done < of else "\n"
            sys.stderr.write(f"\rcompiling kernels for this machine: {done} of {of}; they are kept{end}")
            sys.stderr.flush()
