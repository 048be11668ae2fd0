"""Live models, measured in the user's own process: each trains in a thread, and only one thread ever trains at a time.

What measuring changes (weights, optimizer, metrics, the order of samples to come) is put back afterwards.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from multiprocessing import Pipe
from typing import Any

import msgspec
import numpy as np

from epochwise.errors import WorkerDiedError
from epochwise.measuring.measure import Measured, Progress, measure_players
from epochwise.measuring.messages import Load, Loaded, Stop
from epochwise.measuring.players import Player
from epochwise.measuring.session import serve
from epochwise.measuring.track import expect
from epochwise.measuring.worker import ConnectionChannel
from epochwise.subjects.datasets import DataSpec
from epochwise.subjects.loading import Subject

GRACE_SECONDS = 60.0
"""How long a thread may take to come to its next step, after which it is left alone."""


class LivePlayer(Player):
    """A model that lives in this process.

    Args:
        subject: the model with its data.
        batch_size: samples in a step.
    """

    in_other_process = False

    def __init__(self, subject: Subject, batch_size: int) -> None:
        ours, theirs = Pipe()
        self.load = Load(
            model=subject.name, data=DataSpec(), backend=subject.backend, batch_size=batch_size, seed=0, name=subject.name
        )
        super().__init__(self.load, ours)

        def session() -> None:
            with contextlib.closing(theirs):
                serve(ConnectionChannel(theirs), lambda load: subject)

        self._thread = threading.Thread(target=session, name=f"epochwise {subject.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread at its next step."""
        with contextlib.suppress(OSError):
            self._connection.send_bytes(msgspec.msgpack.encode(Stop()))
        self._thread.join(GRACE_SECONDS)
        self._connection.close()

    def _ended(self) -> WorkerDiedError:
        return WorkerDiedError(f"Training of {self.name!r} on {self.backend} ended before it was measured.")


def measure_live(subjects: Sequence[Subject], *, batch_size: int, seconds: float, progress: Progress | None = None) -> Measured:
    """Measure live models in turn; see :func:`epochwise.measuring.measure.measure`.

    Args:
        subjects: one or two models with their data; afterwards as they were before.
        batch_size: samples in a step.
        seconds: measuring budget.
        progress: told how far it is.
    """
    with contextlib.ExitStack() as stack:
        for subject in subjects:
            stack.enter_context(_put_back(subject))
        players = [LivePlayer(subject, batch_size) for subject in subjects]
        for player in players:
            stack.callback(player.close)
        loaded = [expect(Loaded, player.ask(player.load)) for player in players]
        return measure_players(players, loaded, seconds, progress)


@contextlib.contextmanager
def _put_back(subject: Subject) -> Iterator[None]:
    """Keep what training changes, and restore it."""
    module: Any = import_module(f"epochwise.measuring.{'torch' if subject.backend == 'pytorch' else 'keras'}")
    order, choices = np.random.get_state(), random.getstate()
    with module.kept(subject.model, subject.optimizer):
        try:
            yield
        finally:
            np.random.set_state(order)
            random.setstate(choices)
