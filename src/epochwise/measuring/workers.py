"""The measuring process's side of its workers: start one, ask it, and make sure that it is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Protocol

import msgspec

from epochwise.errors import EpochwiseError, WorkerDiedError, all_errors
from epochwise.measuring.messages import Failed, Load, Loaded, Paused, Reply, Request, Stop

POLL_SECONDS = 0.1
GRACE_SECONDS = 3.0
LOG_LINES = 12

QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "PYTHONWARNINGS": "ignore",
    "PYTHONUNBUFFERED": "1",
}
"""Environment of workers: only what concerns messages, nothing that changes how fast a framework is."""


class Player(Protocol):
    """One of the models being measured, wherever it lives."""

    name: str

    def ask(self, request: Request, waiting: Callable[[], None] | None = None) -> Loaded | Paused:
        """Send a request and wait for its answer.

        Args:
            request: what to do.
            waiting: called every now and then meanwhile.

        Raises:
            EpochwiseError: what the worker could not do, or :class:`WorkerDiedError`.
        """

    def close(self) -> None:
        """End it; nothing is left running."""


class Worker:
    """A worker process.

    Args:
        load: its first request; its backend decides the environment.
    """

    def __init__(self, load: Load) -> None:
        self.name = load.name or load.model
        self._backend = load.backend
        ours, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile(prefix="epochwise-")  # noqa: SIM115 - closed with the worker
        environment = {**QUIET, **os.environ, "KERAS_BACKEND": load.backend}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "epochwise.measuring.worker", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal reaches the measuring process alone
            )
        self._connection = Connection(ours.detach())
        self._decoder: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ask(self, request: Request, waiting: Callable[[], None] | None = None) -> Loaded | Paused:
        """See :class:`Player`."""
        self.tell(request)
        return self.answer(waiting)

    def tell(self, request: Request) -> None:
        """Send a request without waiting for its answer."""
        try:
            self._connection.send_bytes(msgspec.json.encode(request))
        except OSError:
            raise self._died() from None

    def answer(self, waiting: Callable[[], None] | None = None) -> Loaded | Paused:
        """Wait for the answer to what was told."""
        try:
            while not self._connection.poll(POLL_SECONDS):
                if waiting:
                    waiting()
            reply = self._decoder.decode(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(reply, Failed):
            raise self._failure(reply)
        return reply

    def close(self) -> None:
        """End the process: ask, then kill."""
        with contextlib.suppress(OSError):
            self._connection.send_bytes(msgspec.json.encode(Stop()))
        with contextlib.suppress(OSError):
            self._connection.close()
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
        finally:
            self._log.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()

    def _failure(self, failed: Failed) -> EpochwiseError:
        kind = all_errors().get(failed.kind)
        if kind is not None:
            return kind(failed.what, cause=failed.cause, remedy=failed.remedy)
        return WorkerDiedError(
            f"The worker that measured {self.name!r} on {self._backend} failed: {failed.what}",
            cause=f"an error inside the framework or the model:\n{_last_lines(failed.cause)}",
        )

    def _died(self) -> WorkerDiedError:
        try:
            code = self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return WorkerDiedError(f"The worker that measured {self.name!r} on {self._backend} closed its connection.")
        who = f"The worker that measured {self.name!r} on {self._backend}"
        if code < 0:
            what = f"{who} was ended by signal {-code} ({signal.Signals(-code).name})."
            cause = {
                signal.SIGKILL: "the system's memory ran out, or its limit for this process was reached",
                signal.SIGSEGV: "a defect in the framework or in a library that it uses",
            }.get(signal.Signals(-code), "another program sent the signal")
            remedy = "a smaller --batch-size, or more memory" if -code == signal.SIGKILL else ""
            return WorkerDiedError(what, cause=cause, remedy=remedy)
        self._log.seek(0)
        said = _last_lines(self._log.read().decode(errors="replace"))
        return WorkerDiedError(f"{who} ended with exit code {code}.", cause=said or "it said nothing")


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LOG_LINES:])
