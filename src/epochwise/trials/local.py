"""Trials on this machine: one worker process for each core, one trial at a time in each.

While a trial runs that keeps several cores busy, as many workers wait.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import wait
from typing import TypeAlias

import msgspec

from epochwise.errors import UsageError, WorkerDiedError
from epochwise.machines.host import host
from epochwise.trials.environment import environment
from epochwise.trials.events import Event, Failed, Finished, Tick
from epochwise.trials.processes import Process
from epochwise.trials.trial import Trial
from epochwise.trials.worker import Begin, Ready, Run

TICK_SECONDS = 1.0
MOST_KILLS = 2
"""A trial that ended so many workers has failed. One may have been somebody else's doing."""

MOST_FALSE_STARTS = 3

Reply: TypeAlias = Ready | Finished | Failed
_DECODER: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class Local:
    """Runs trials in processes of this machine. They end with the main process, even if that is killed.

    Args:
        workers: how many at once; ``None`` for as many as there are cores for this process.
        backend: of Keras, in the workers' environment; ``None`` leaves it as it is.
    """

    def __init__(self, workers: int | None = None, backend: str | None = None) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"{workers} workers were asked for.", remedy="--workers 1, or more")
        self.workers = workers or host().cores
        self.backend = backend

    def run(self, trials: Sequence[Trial]) -> Generator[Event, None, None]:
        """Run trials in this order, as workers become free; see :class:`~epochwise.trials.events.Runner`.

        Raises:
            WorkerDiedError: workers cannot even start.
        """
        crew = _Crew(trials, min(self.workers, sum(trial.cores for trial in trials)), self.backend)
        try:
            yield Tick(len(crew.workers))
            told = time.monotonic()
            while crew.workers:
                for worker in crew.heard_from():
                    event = crew.event(worker)
                    if event is not None:
                        yield event  # it is kept while we wait here: at most one trial of each worker is ever run for nothing
                    crew.go_on()
                if time.monotonic() - told > TICK_SECONDS:
                    told = time.monotonic()
                    yield Tick(max(1, len(crew.workers)))
        finally:
            crew.kill()


class _Worker:
    """A process and the trial that it has. The trial lies in the pipe when the process is ready, so all start at once.

    Attributes:
        trial: ``None`` while it waits for one.
        ready: whether it has started.
        ended: whether it is gone.
    """

    def __init__(self, backend: str | None, trial: Trial) -> None:
        self.ready = False
        self.ended = False
        self.process = Process("epochwise.trials.worker", environment(backend))
        self.process.send(Begin(list(sys.path)))
        self.begin(trial)

    def begin(self, trial: Trial) -> None:
        """Hand it a trial."""
        self.trial: Trial | None = trial
        self.process.send(Run(trial.key, trial.description))

    def reply(self) -> Reply | None:
        """What it says; ``None`` if it has ended."""
        try:
            return _DECODER.decode(self.process.connection.recv_bytes())
        except (EOFError, OSError):
            self.ended = True
            return None


class _Crew:
    """The workers, and the trials that wait for one."""

    def __init__(self, trials: Sequence[Trial], count: int, backend: str | None) -> None:
        self._count = count
        self._backend = backend
        self._waiting = deque(trials)
        self._kills: Counter[str] = Counter()
        self._false_starts = 0
        self.workers: list[_Worker] = []
        try:
            self.go_on()
        except BaseException:
            self.kill()
            raise

    def heard_from(self) -> list[_Worker]:
        """The workers that said something or ended; empty if a second passed before any did."""
        ready = wait([worker.process.connection for worker in self.workers], TICK_SECONDS)
        return [worker for worker in self.workers if worker.process.connection in ready]

    def event(self, worker: _Worker) -> Finished | Failed | None:
        """The end of a worker's trial, if that is what it has to say."""
        reply = worker.reply()
        if isinstance(reply, Ready):
            worker.ready = True
            self._false_starts = 0
            return None
        trial, worker.trial = worker.trial, None
        if reply is None:
            return None if trial is None else self._event_of_death(worker, trial)
        return reply

    def go_on(self) -> None:
        """Begin the next trials as far as cores are free for them; send workers away when nothing waits."""
        for worker in [worker for worker in self.workers if worker.ended]:
            self.workers.remove(worker)
            worker.process.kill()
        while self._waiting and self._cores(self._waiting[0]) <= self._free():
            trial = self._waiting.popleft()
            idle = next((worker for worker in self.workers if worker.trial is None), None)
            if idle is None:
                self.workers.append(_Worker(self._backend, trial))
            else:
                idle.begin(trial)
        if not self._waiting:
            for worker in [worker for worker in self.workers if worker.trial is None]:
                self.workers.remove(worker)
                worker.process.close()

    def kill(self) -> None:
        """End all of them at once."""
        for worker in self.workers:
            worker.process.kill()
        self.workers.clear()

    def _free(self) -> int:
        return self._count - sum(self._cores(worker.trial) for worker in self.workers if worker.trial is not None)

    def _cores(self, trial: Trial) -> int:
        return min(trial.cores, self._count)

    def _event_of_death(self, worker: _Worker, trial: Trial) -> Failed | None:
        how, cause = worker.process.last_words()
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts == MOST_FALSE_STARTS:
                raise WorkerDiedError(f"A worker for trials {how} while it started.", cause=cause)
        else:
            self._kills[trial.key] += 1
            if self._kills[trial.key] == MOST_KILLS:
                return Failed(trial.key, f"Its worker {how}, {MOST_KILLS} times.\nUsual cause: {cause}")
        self._waiting.appendleft(trial)
        return None
