"""A process of ours: started from anew, spoken to through a pipe, and gone when its starter is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from epochwise.measuring.players import last_lines

GRACE_SECONDS = 3.0

_CAUSES = {
    signal.SIGKILL: "the system's memory ran out, or a limit on this process's memory was reached",
    signal.SIGSEGV: "a defect in a library that it uses",
}


class Process:
    """``python -m MODULE DESCRIPTOR PARENT`` with a connection to it. What it prints goes into a log of its own.

    Args:
        module: whose ``main`` serves the other end.
        environment: added to this process's own.
    """

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile(prefix="epochwise-")  # noqa: SIM115 - closed with the process
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                # The child finds what this process finds. -P: nothing of what happens to lie in the current folder.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal reaches the main process alone
            )
        self.connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def send(self, message: Any) -> None:
        """Send a message; to a process that has ended, nothing is sent, and its connection tells so when it is read."""
        with contextlib.suppress(OSError):
            self.connection.send_bytes(msgspec.msgpack.encode(message))

    def close(self) -> None:
        """End the process: hang up, then kill."""
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process at once. A second call does nothing."""
        self.connection.close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def last_words(self) -> tuple[str, str]:
        """How a process ended that hung up, and the usual cause or what it printed last."""
        try:
            code = self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its connection", ""
        if code < 0:
            number = signal.Signals(-code)
            return f"was ended by signal {-code} ({number.name})", _CAUSES.get(number, "another program sent the signal")
        self._log.seek(0)
        return f"ended with exit code {code}", last_lines(self._log.read().decode(errors="replace")) or "it said nothing"
