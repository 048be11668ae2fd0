"""Entry of a worker process: ``python -m epochwise.measuring.worker DESCRIPTOR``.

The descriptor is the worker's end of a socket pair. The worker ends when that is closed, and on Linux also when the process
that started it dies, so that none is ever left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from multiprocessing.connection import Connection

import msgspec

from epochwise.measuring.gate import StopTraining
from epochwise.measuring.messages import Reply, Request

PR_SET_PDEATHSIG = 1


class ConnectionChannel:
    """A channel over a connection: one message at a time, as MessagePack, which unlike JSON has numbers that are none."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)

    def receive(self) -> Request:
        """Wait for the next request; the end of the connection is the end of the session."""
        try:
            return self._decoder.decode(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise StopTraining from None

    def send(self, reply: Reply) -> None:
        """Answer."""
        try:
            self._connection.send_bytes(msgspec.msgpack.encode(reply))
        except OSError:
            raise StopTraining from None


def die_with_parent(parent: int) -> None:
    """Have the system end this process when ``parent`` dies, however it does (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the line above


def main() -> None:
    """Serve one session and leave."""
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the measuring process decides when to end
    from epochwise.measuring.session import serve

    with contextlib.suppress(StopTraining):
        serve(ConnectionChannel(Connection(int(sys.argv[1]))))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # frameworks may hang or crash while they take their threads down; there is nothing left to save


if __name__ == "__main__":
    main()
