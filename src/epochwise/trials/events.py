"""What a runner tells while it runs trials, and what it takes to be one."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol, TypeAlias

import msgspec

from epochwise.trials.trial import Trial


class Finished(msgspec.Struct, frozen=True, tag=True):
    """A trial's outcome, encoded where it was run; see :class:`~epochwise.trials.trial.Result` for the fields."""

    key: str
    numbers: bytes
    arrays: bytes
    measured: bytes
    engine: str
    seconds: float
    version: str
    machine: str
    backend: str
    finished_at: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A trial that has no outcome: its function raised, or killed its worker twice. ``error`` says it in words."""

    key: str
    error: str


class Tick(msgspec.Struct, frozen=True, tag=True):
    """Nothing new; told every second or so. ``workers``: how many trials run at once now."""

    workers: int


Event: TypeAlias = Finished | Failed | Tick


class Runner(Protocol):
    """Runs trials somewhere. ``run`` begins them in the order given, and tells each one's end once.

    Closing the generator ends everything that runs, at once.
    """

    def run(self, trials: Sequence[Trial]) -> Generator[Event, None, None]:
        """Run these, none of which is there twice.

        Raises:
            EpochwiseError: trials cannot be run at all; those that have been told are good.
        """
        ...
