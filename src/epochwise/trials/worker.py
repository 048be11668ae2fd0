"""Entry of a process that runs trials one after another: ``python -m epochwise.trials.worker DESCRIPTOR PARENT``.

It ends when its connection does, and on Linux also when the process that started it dies.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection

import msgspec

from epochwise.measuring.worker import die_with_parent


class Begin(msgspec.Struct, frozen=True, tag=True):
    """First message to a worker: where it finds modules (Python's ``sys.path`` of the main process)."""

    path: list[str]


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run this trial."""

    key: str
    description: str
    cores: int = 1


class Ready(msgspec.Struct, frozen=True, tag=True):
    """First message of a worker: it has started."""


def main() -> None:
    """Serve until nobody is there any more."""
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides when to end
    connection = Connection(int(sys.argv[1]))
    decoder: msgspec.msgpack.Decoder[Begin | Run] = msgspec.msgpack.Decoder(Begin | Run)
    try:
        begin = decoder.decode(connection.recv_bytes())
        assert isinstance(begin, Begin), "the first message always is"
        sys.path[:] = begin.path
        connection.send_bytes(msgspec.msgpack.encode(Ready()))
        from epochwise.trials.execution import execute

        while isinstance(request := decoder.decode(connection.recv_bytes()), Run):
            connection.send_bytes(msgspec.msgpack.encode(execute(request.key, request.description)))
    except (EOFError, OSError):
        pass
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # frameworks may hang or crash while they take their threads down; there is nothing left to save


if __name__ == "__main__":
    main()
