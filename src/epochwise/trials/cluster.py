"""Trials on a Ray cluster, as the main process sees it: a process of its own speaks to Ray, and this one to that.

Ray ends the program that lost the head of its cluster, writes to the terminal, waits for minutes for an address where nobody
listens, and takes over Ctrl-C. In a process of its own none of that reaches the one that keeps the results.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from importlib.util import find_spec
from typing import TypeAlias

import msgspec

from epochwise.errors import BackendMissingError, ClusterError
from epochwise.machines.host import host
from epochwise.trials.environment import environment
from epochwise.trials.events import Event, Failed, Finished, Tick
from epochwise.trials.processes import Process
from epochwise.trials.trial import Trial
from epochwise.trials.worker import Run

LOCAL = "local"
JOIN_SECONDS = 25.0
"""How long an address may take to answer."""

START_SECONDS = 120.0
"""How long a cluster on this machine may take to start; usually 5."""


LONGEST_FOLDER = 20


class Connect(msgspec.Struct, frozen=True, tag=True):
    """First message to the driver.

    Attributes:
        address: of a cluster, or ``local`` for a new one.
        cores: of the new one.
        folder: where a new one may write; empty otherwise.
        path: Python's ``sys.path`` of the main process.
        environment: of the processes that run trials.
    """

    address: str
    cores: int
    folder: str
    path: list[str]
    environment: dict[str, str]


class RunAll(msgspec.Struct, frozen=True, tag=True):
    """Second message to the driver: the trials, in order."""

    trials: list[Run]


class Connected(msgspec.Struct, frozen=True, tag=True):
    """The driver has reached the cluster, which has so many cores."""

    cores: int


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The cluster cannot be used; the texts are those of a :class:`~epochwise.errors.ClusterError`."""

    what: str
    cause: str = ""
    remedy: str = ""


ToDriver: TypeAlias = Connect | RunAll
FromDriver: TypeAlias = Connected | Lost | Finished | Failed | Tick
_DECODER: msgspec.msgpack.Decoder[FromDriver] = msgspec.msgpack.Decoder(FromDriver)


class Cluster:
    """Runs trials on Ray: each on as many cores as it keeps busy (or as the smallest node has), on whichever node is free.

    Those of a node that dies run again elsewhere.

    Results have the same bits as here where the nodes' processors and libraries are the same.

    Args:
        address: ``local`` starts a cluster on this machine for as long as the trials take. Anything else joins one that runs:
            ``host:port``, ``auto``, or ``ray://host:port`` for Ray's client.
        workers: cores of the local cluster; ``None`` for as many as there are for this process.
        backend: of Keras, in the environment of the processes that run trials; ``None`` leaves it as it is on the nodes.

    Raises:
        BackendMissingError: Ray is not installed.
    """

    def __init__(self, address: str = LOCAL, workers: int | None = None, backend: str | None = None) -> None:
        if find_spec("ray") is None:
            raise BackendMissingError(
                "A cluster was asked for, but Ray is not installed here.",
                cause="epochwise was installed without its extra for clusters",
                remedy="pip install 'epochwise[cluster]'",
            )
        self.address = address
        self.workers = workers or host().cores
        self.backend = backend

    def run(self, trials: Sequence[Trial]) -> Generator[Event, None, None]:
        """Run trials, begun about in this order; see :class:`~epochwise.trials.events.Runner`.

        Raises:
            ClusterError: the cluster cannot be reached (within 30 seconds), was lost, or cannot run trials.
        """
        folder = _short_folder() if self.address == LOCAL else ""
        driver = Process("epochwise.trials.driver", environment(None))
        try:
            driver.send(Connect(self.address, self.workers, folder, list(sys.path), environment(self.backend)))
            yield Tick(self._cores(driver))
            driver.send(RunAll([Run(trial.key, trial.description, trial.cores) for trial in trials]))
            left = len(trials)
            while left:
                event = _received(driver)
                assert not isinstance(event, Connected), "it is said once"
                left -= not isinstance(event, Tick)
                yield event
            driver.close()
        finally:
            driver.kill()
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def _cores(self, driver: Process) -> int:
        limit = START_SECONDS if self.address == LOCAL else JOIN_SECONDS
        begun = time.monotonic()
        while not driver.connection.poll(0.5):
            if time.monotonic() - begun > limit:
                raise ClusterError(
                    f"The cluster {self.address} did not answer within {limit:.0f} seconds; nothing is lost.",
                    cause="no cluster runs there, or a firewall is in between",
                    remedy="ray status --address ADDRESS tells whether it runs; without --cluster, this machine runs all",
                )
        reply = _received(driver)
        assert isinstance(reply, Connected), "or it would have been lost"
        return reply.cores


def _short_folder() -> str:
    """A new folder for temporary files, with a short name: Ray puts sockets into it, whose paths hold 107 bytes."""
    usual = tempfile.gettempdir()
    place = "/tmp" if len(usual) > LONGEST_FOLDER and os.access("/tmp", os.W_OK) else usual
    return tempfile.mkdtemp(prefix="epochwise-ray-", dir=place)


def _received(driver: Process) -> Connected | Event:
    try:
        message = _DECODER.decode(driver.connection.recv_bytes())
    except (EOFError, OSError):
        how, cause = driver.last_words()
        raise ClusterError(
            f"The connection to the cluster was lost: the process that speaks to Ray {how}. What was finished is kept.",
            cause=f"the head of the cluster ended\n{cause}",
            remedy="the same command again goes on where it stopped",
        ) from None
    if isinstance(message, Lost):
        raise ClusterError(message.what, cause=message.cause, remedy=message.remedy)
    return message
