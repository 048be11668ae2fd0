"""What is asked of the experiments, and what a plan of them says. Imports nothing heavy: the command line uses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

Progress: TypeAlias = Callable[[float, float, str], None]
"""Called as ``progress(done, total, text)``."""

PROTOCOLS = ("P0", "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10")
"""All protocols, in the order of the record."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        models: two MODEL strings, or none for the question's own pair.
        experiments: some of :data:`PROTOCOLS`; empty for all. The control P0 is always among them.
        tier: ``smoke``, ``standard`` or ``full``.
        data: ``fashion-mnist``, a ``file.npz``, or a function, as ``--data`` takes it.
        backend: of Keras; ``None`` for the one that Keras would take.
        store: the file in which trials are kept; ``None`` for the user's own.
        cluster: address of a Ray cluster, or ``local``; ``None`` for this machine's cores.
        workers: at once, on this machine; ``None`` for one per core.
        seed: the first of the seeds.
        agreement: whether a sample of the trials is trained by Keras as well.
    """

    models: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    tier: str = "smoke"
    data: str = "fashion-mnist"
    backend: str | None = None
    store: str | Path | None = None
    cluster: str | None = None
    workers: int | None = None
    seed: int = 0
    agreement: bool = True


class PlannedProtocol(msgspec.Struct, frozen=True, kw_only=True):
    """What a protocol will take.

    Attributes:
        id: ``P0`` to ``P10``.
        title: in a few words.
        trainings: how many trials, at most: those at a best learning rate may turn out to be there already.
        done: how many of these are in the store.
        seconds: estimated for all of them, on one core.
        left_out: why it cannot be run, empty where it can.
    """

    id: str
    title: str
    trainings: int
    done: int
    seconds: float
    left_out: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a request will take.

    Attributes:
        tier: as asked.
        models: names of the two.
        data: name and origin.
        backend: of Keras.
        store: the file in which trials are kept.
        workers: trials at once; ``None`` where a cluster decides.
        protocols: in their order. Trials that two protocols share are in both.
        trainings: different trials in all, at most, those of the agreement with Keras among them.
        done: how many of these are in the store.
        seconds: estimated for those that are not, with these workers (one core each), from what the others took where some are
            done.
        notes: what a reader must know.
    """

    tier: str
    models: tuple[str, ...]
    data: str
    backend: str
    store: str
    workers: int | None
    protocols: tuple[PlannedProtocol, ...]
    trainings: int
    done: int
    seconds: float
    notes: tuple[str, ...] = ()
