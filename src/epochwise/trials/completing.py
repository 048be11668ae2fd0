"""From descriptions to results: what is kept already is taken from the store, the rest is run and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing

import msgspec

from epochwise.errors import TrialsFailedError
from epochwise.trials.events import Failed, Finished, Runner
from epochwise.trials.pace import Pace
from epochwise.trials.store import Store
from epochwise.trials.trial import Result, Trial

Report = Callable[[float, float, str], None]
"""Called as ``report(done, total, text)``; both in units of cost."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a plan is.

    Attributes:
        done: how many of its trials are in the store.
        total: how many different trials it has.
        seconds: processor time of those that are there, added up.
        seconds_left: about how long the rest will take on ``workers``; 0 when all is done, ``None`` while nothing is known.
        workers: at once, as ``seconds_left`` assumes.
    """

    done: int
    total: int
    seconds: float
    seconds_left: float | None
    workers: int


def status(trials: Iterable[Trial], store: Store, workers: int) -> Status:
    """Look how far a plan is; a store that was opened to look only will do.

    Raises:
        StoreError: the store cannot be read.
    """
    plan = list(dict.fromkeys(trials))
    taken = store.seconds(plan)
    pace = Pace(plan, taken, workers)
    return Status(
        done=len(taken), total=len(plan), seconds=sum(taken.values()), seconds_left=pace.seconds_left(), workers=workers
    )


def complete(
    trials: Iterable[Trial], store: Store, runner: Runner, report: Report | None = None, later: Iterable[Trial] = ()
) -> dict[str, Result]:
    """Results of all these trials. Those that are not in the store are run and kept one by one.

    The longest are begun first, so that no core waits at the end for one that another began late; those that keep several
    cores busy come last, when all others are done anyway.

    Whatever ends this (an error, Ctrl-C, a kill), what was kept stays kept, and the same call goes on from there.

    Args:
        trials: the same one may be there several times; it is run once.
        store: opened for writing.
        runner: where they are run.
        report: told how much is done, about once a second.
        later: trials that another call will probably run; what is told counts them in.

    Returns:
        By the key of the trial, in the order given.

    Raises:
        TrialsFailedError: some have no result; raised after all others were run. ``.results`` has those of the others.
        StoreError: a result cannot be kept; the run ends there.
        EpochwiseError: the runner cannot run anything (any more).
    """
    plan = list(dict.fromkeys(trials))
    everything = list(dict.fromkeys([*plan, *later]))
    taken = store.seconds(everything)
    pace = Pace(everything, taken, workers=1)
    missing = sorted((trial for trial in plan if trial.key not in taken), key=lambda trial: (trial.cores, -trial.cost))
    by_key = {trial.key: trial for trial in missing}
    failed: dict[str, str] = {}
    tell = report or (lambda done, total, text: None)
    if missing:
        tell(pace.done, pace.total, pace.sentence())
        with closing(runner.run(missing)) as events:
            for event in events:
                if isinstance(event, Finished):
                    store.put(by_key[event.key], event)
                    pace.finished(event.key, event.seconds)
                elif isinstance(event, Failed):
                    failed[event.key] = event.error
                    pace.failed(event.key)
                else:
                    pace.workers = event.workers
                tell(pace.done, pace.total, pace.sentence())
    results = {trial.key: result for trial in plan if (result := store.get(trial)) is not None}
    if failed:
        raise _failure(failed, by_key, results)
    return results


def _failure(failed: Mapping[str, str], trials: Mapping[str, Trial], results: dict[str, Result]) -> TrialsFailedError:
    few = list(failed.items())[:3]
    told = [f"{trials[key].description}\n{_indented(error)}" for key, error in few]
    more = [f"... and {len(failed) - len(few)} more."] if len(failed) > len(few) else []
    count = "1 trial has" if len(failed) == 1 else f"{len(failed)} trials have"
    error = TrialsFailedError(
        "\n".join([f"{count} no result; {len(results)} have one and are kept.", *told, *more]),
        remedy="when the cause is mended, the same command runs only these again",
    )
    error.failures, error.results = dict(failed), results
    return error


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
