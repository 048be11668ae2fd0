"""All errors that epochwise raises on purpose, in one tree.

::

    EpochwiseError                  exit code of the command line
    ├── UsageError                  2   the command or call cannot be carried out as given
    │   ├── ModelNotFoundError          no such file, module or function
    │   ├── NotAModelError              the function gave something else
    │   ├── ModelDoesNotFitError        the model does not accept the data
    │   ├── NotCoveredError             the engine does not train this model
    │   ├── BudgetTooSmallError         --seconds is too small for one block
    │   └── OutputExistsError           the output file is there; --force was not given
    ├── ModelFailedError            3   the user's own code raised
    │   └── UnsafeModelError            a .keras file that holds code
    ├── DataError                   4   data that cannot be trained on
    │   ├── DataNotFoundError           nowhere to be found, and no network
    │   └── DataCorruptError            truncated, unreadable, wrong checksum
    ├── BackendMissingError         5   a framework that is not installed
    ├── TracingError                6   the step could not be traced
    ├── WorkerDiedError             7   a measuring process ended by itself or was killed
    ├── RecordError                 8   a saved result that cannot be read
    ├── JobsFailedError             9   some of many models were not trained
    ├── StoreError                 10   results of trials that cannot be kept or read
    ├── TrialsFailedError          11   trials that have no result
    └── ClusterError               12   a cluster that cannot be reached, or was lost

Each message says what was wrong, what was received, the usual cause, and the line that works. Only the command line turns
errors into exit codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar


class EpochwiseError(Exception):
    """Base of all errors that epochwise raises on purpose.

    Args:
        what: one sentence: what is wrong, naming what was received.
        cause: the usual cause, one sentence, if there is one.
        remedy: the line or command that works, if there is one.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, cause: str = "", remedy: str = "") -> None:
        self.what = what
        self.cause = cause
        self.remedy = remedy
        super().__init__(what, cause, remedy)

    def __str__(self) -> str:
        lines = [self.what]
        if self.cause:
            lines.append(f"Usual cause: {self.cause}")
        if self.remedy:
            lines.append(f"What works: {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments: say how to make it again, so that errors cross process borders whole.
        return _rebuild, (type(self), self.what, self.cause, self.remedy)


def _rebuild(kind: type[EpochwiseError], what: str, cause: str, remedy: str) -> EpochwiseError:
    return kind(what, cause=cause, remedy=remedy)


class UsageError(EpochwiseError):
    """The command or call cannot be carried out as given."""

    exit_code = 2


class ModelNotFoundError(UsageError):
    """No such file, module or function."""


class NotAModelError(UsageError):
    """The function gave something that is neither a Keras model nor a ``torch.nn.Module``."""


class ModelDoesNotFitError(UsageError):
    """The model does not accept the data."""


class NotCoveredError(UsageError):
    """The engine does not train this model; the message names every layer and option that it does not cover."""


class BudgetTooSmallError(UsageError):
    """The measuring budget is too small for one block."""


class OutputExistsError(UsageError):
    """An output file exists and may not be overwritten."""


class ModelFailedError(EpochwiseError):
    """The user's own code raised; the message holds the short traceback of that code."""

    exit_code = 3


class UnsafeModelError(ModelFailedError):
    """A ``.keras`` file that holds code, refused by Keras's safe mode."""


class DataError(EpochwiseError):
    """Data that cannot be trained on."""

    exit_code = 4


class DataNotFoundError(DataError):
    """The data is in none of the places tried, and could not be downloaded."""


class DataCorruptError(DataError):
    """A data file is unreadable, truncated, or does not have its checksum."""


class BackendMissingError(EpochwiseError):
    """A framework that is not installed."""

    exit_code = 5


class TracingError(EpochwiseError):
    """The training step could not be traced."""

    exit_code = 6


class WorkerDiedError(EpochwiseError):
    """A measuring process ended by itself or was killed.

    Attributes:
        kept: the record of what was measured until then, or ``None`` if it was too little to be of use.
    """

    exit_code = 7
    kept: object | None = None


class RecordError(EpochwiseError):
    """A saved result that cannot be read: not JSON, another schema, a newer version."""

    exit_code = 8


class JobsFailedError(EpochwiseError):
    """Some of many models could not be trained.

    Attributes:
        failures: what was raised, by the number of the job.
        histories: of all jobs, in their order; ``None`` for those that failed.
    """

    exit_code = 9
    failures: Mapping[int, BaseException] = MappingProxyType({})
    histories: Sequence[object] = ()


class StoreError(EpochwiseError):
    """Results of trials cannot be kept or read: no room, no permission, or another process is writing."""

    exit_code = 10


class TrialsFailedError(EpochwiseError):
    """Some trials have no result; all others were run and are kept.

    Attributes:
        failures: the key of each trial without a result, and why.
        results: those of the others, as :func:`epochwise.trials.complete` returns them.
    """

    exit_code = 11
    failures: Mapping[str, str] = MappingProxyType({})
    results: Mapping[str, Any] = MappingProxyType({})


class ClusterError(EpochwiseError):
    """A cluster cannot be reached, was lost, or cannot run trials."""

    exit_code = 12


def all_errors() -> dict[str, type[EpochwiseError]]:
    """Every error of the tree by its class name, for errors that arrive from another process by name."""
    found: dict[str, type[EpochwiseError]] = {}
    todo: list[type[EpochwiseError]] = [EpochwiseError]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        todo.extend(kind.__subclasses__())
    return found
