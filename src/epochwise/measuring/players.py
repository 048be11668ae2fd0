"""The models being measured, as the measuring process sees them: ask one to train on, and hear how long it took."""

from __future__ import annotations

from abc import ABC, abstractmethod
from multiprocessing.connection import Connection

import msgspec

from epochwise.errors import EpochwiseError, WorkerDiedError, all_errors
from epochwise.measuring.messages import Failed, Load, Loaded, Paused, Reply, Request

LOG_LINES = 12


class Player(ABC):
    """One of the models being measured, at the other end of a connection.

    Args:
        load: its first request.
        connection: to its session.

    Attributes:
        in_other_process: whether its processor time is that of another process.
    """

    in_other_process = True

    def __init__(self, load: Load, connection: Connection) -> None:
        self.name = load.name or load.model
        self.backend = load.backend
        self._connection = connection
        self._decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)

    def ask(self, request: Request) -> Loaded | Paused:
        """Send a request and wait for its answer.

        Raises:
            EpochwiseError: what the session could not do.
            WorkerDiedError: the session ended.
        """
        self.tell(request)
        return self.answer()

    def tell(self, request: Request) -> None:
        """Send a request without waiting for its answer."""
        try:
            self._connection.send_bytes(msgspec.msgpack.encode(request))
        except OSError:
            raise self._ended() from None

    def answer(self) -> Loaded | Paused:
        """Wait for the answer to what was told."""
        try:
            reply = self._decoder.decode(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(reply, Failed):
            raise self._failure(reply)
        return reply

    @abstractmethod
    def close(self) -> None:
        """End it; nothing is left running."""

    @abstractmethod
    def _ended(self) -> WorkerDiedError:
        """Why the session ended."""

    def _failure(self, failed: Failed) -> EpochwiseError:
        kind = all_errors().get(failed.kind)
        if kind is not None:
            return kind(failed.what, cause=failed.cause, remedy=failed.remedy)
        return WorkerDiedError(
            f"Measuring {self.name!r} on {self.backend} failed: {failed.what}",
            cause=f"an error inside the framework or the model:\n{last_lines(failed.cause)}",
        )


def last_lines(text: str) -> str:
    """The end of what a program said."""
    return "\n".join(text.strip().splitlines()[-LOG_LINES:])
