"""Running one trial in this process: find its function, call it, and turn what comes of it into bytes or words."""

from __future__ import annotations

import functools
import importlib
import json
import os
import time
import traceback
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from epochwise.errors import EpochwiseError
from epochwise.machines.host import processor
from epochwise.trials.encoding import encode_arrays, encode_numbers
from epochwise.trials.events import Failed, Finished
from epochwise.trials.trial import Outcome

_FRAMES = 4


def execute(key: str, description: str) -> Finished | Failed:
    """Run the trial of this description (JSON: run, arguments). Whatever its function raises becomes ``Failed``."""
    try:
        trial = json.loads(description)
        module, _, name = trial["run"].partition(":")
        function = getattr(importlib.import_module(module), name)
        begun = time.perf_counter()
        outcome = function(trial["arguments"])
        seconds = time.perf_counter() - begun
        if not isinstance(outcome, Outcome):
            raise TypeError(f"{trial['run']} gave a {type(outcome).__name__}; a trial's function gives an Outcome.")
        return Finished(
            key=key,
            numbers=encode_numbers(outcome.numbers),
            arrays=encode_arrays(outcome.arrays),
            measured=encode_numbers(outcome.measured),
            engine=outcome.engine,
            seconds=seconds,
            version=version(),
            machine=_machine(),
            backend=os.environ.get("KERAS_BACKEND", ""),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    except (Exception, SystemExit) as error:
        return Failed(key, _in_words(error))


@functools.cache
def version() -> str:
    """Of epochwise as it is installed here."""
    try:
        return version_of("epochwise")
    except PackageNotFoundError:  # used from a checkout
        return "unknown"


@functools.cache
def _machine() -> str:
    return processor()[0]


def _in_words(error: BaseException) -> str:
    if isinstance(error, EpochwiseError):
        return str(error)
    said = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)[1:][-_FRAMES:]
    return "\n".join([said, *(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)])
