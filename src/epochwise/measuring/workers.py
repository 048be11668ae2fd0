"""Worker processes: start one, and make sure that it is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection

import msgspec

from epochwise.errors import WorkerDiedError
from epochwise.measuring.messages import Load, Stop
from epochwise.measuring.players import Player, last_lines

GRACE_SECONDS = 3.0

QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "PYTHONWARNINGS": "ignore",
}
"""Environment of workers: only what concerns messages, nothing that changes how fast a framework is."""


class Worker(Player):
    """A model in a process of its own, whose backend is in its environment before Keras is imported.

    Args:
        load: its first request.
    """

    def __init__(self, load: Load) -> None:
        ours, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile(prefix="epochwise-")  # noqa: SIM115 - closed with the worker
        keras_backend = {} if load.backend == "pytorch" else {"KERAS_BACKEND": load.backend}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "epochwise.measuring.worker", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                env={**QUIET, **os.environ, **keras_backend},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal reaches the measuring process alone
            )
        super().__init__(load, Connection(ours.detach()))

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def close(self) -> None:
        """End the process: ask, then kill."""
        with contextlib.suppress(OSError):
            self._connection.send_bytes(msgspec.msgpack.encode(Stop()))
        with contextlib.suppress(OSError):
            self._connection.close()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        finally:
            self._log.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()

    def _ended(self) -> WorkerDiedError:
        who = f"The worker that measured {self.name!r} on {self.backend}"
        try:
            code = self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return WorkerDiedError(f"{who} closed its connection.")
        if code >= 0:
            self._log.seek(0)
            said = last_lines(self._log.read().decode(errors="replace"))
            return WorkerDiedError(f"{who} ended with exit code {code}.", cause=said or "it said nothing")
        number = signal.Signals(-code)
        cause = {
            signal.SIGKILL: "the system's memory ran out, or a limit on this process's memory was reached",
            signal.SIGSEGV: "a defect in the framework or in a library that it uses",
        }.get(number, "another program sent the signal")
        remedy = "a smaller --batch-size, or more memory" if number == signal.SIGKILL else ""
        return WorkerDiedError(f"{who} was ended by signal {-code} ({number.name}).", cause=cause, remedy=remedy)
