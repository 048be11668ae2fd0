"""``epochwise.engine.fit_many``: many models at once, one thread each, in one process.

A small network leaves most of a step's threads waiting for each other; two networks on two cores wait for nothing. The calling
thread makes jobs ready (it alone touches how models are built), and threads of a pool train them: kernels run without Python's
lock, so they run at the same time. A job's numbers are those of ``fit(..., threads=1)``, bit for bit, whatever runs beside it.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from epochwise.engine.fit import Ready, check_arguments, fit, keras_arguments, made_ready, refused
from epochwise.engine.interrupts import Interrupts, Stopping
from epochwise.engine.samples import prepared
from epochwise.engine.support import Support
from epochwise.engine.trainer import Data
from epochwise.errors import JobsFailedError, UsageError
from epochwise.machines.host import host

_SHOWN = 5
"""As many failures are told in an error's message; all of them are in its attributes."""


class Job:
    """One model that is to be trained.

    Attributes:
        model: as for ``epochwise.fit``.
        given: all arguments of ``model.fit``, by name.
        seed: of the order of samples.
    """

    def __init__(self, model: Any, x: Any = None, y: Any = None, *, seed: int | None = None, **arguments: Any) -> None:
        """Nothing is looked at yet.

        Args:
            model: a compiled Keras model.
            x: samples, as for ``epochwise.fit``.
            y: labels.
            seed: of the order of samples, which then is the same whatever was drawn before: that of ``epochwise.fit`` after
                ``keras.utils.set_random_seed(seed)``.
            arguments: the others of ``epochwise.fit``, but for ``threads`` and ``fallback``. ``verbose`` is 0 if not given,
                since several progress bars would write over each other.

        Raises:
            TypeError: an argument that ``fit`` does not have.
        """
        allowed = [name for name in inspect.signature(fit).parameters if name not in ("model", "threads", "fallback")]
        for name in arguments:
            if name not in allowed:
                raise TypeError(f"Job() got an unexpected keyword argument {name!r}; it takes seed, {', '.join(allowed)}")
        self.model, self.seed = model, seed
        self.given = keras_arguments(**{"x": x, "y": y, "verbose": 0, **arguments})


def fit_many(jobs: Iterable[Job], *, at_once: int | None = None, on_end: Callable[[int, Any], None] | None = None) -> list[Any]:
    """Train many models, as many at once as there are cores, each as ``epochwise.fit(..., threads=1)`` trains it.

    Args:
        jobs: a list, or anything that yields jobs; they are taken as threads become free.
        at_once: how many to train at the same time; ``None`` for as many as there are cores to use.
        on_end: called with the number of a job, counted from 0, and its ``History``, in this thread, as soon as it is trained.
            What it raises ends everything, as Ctrl-C does.

    Returns:
        Keras's ``History`` of each job, in the order of the jobs.

    Raises:
        JobsFailedError: some jobs could not be trained; raised when all others are. It names them, and has the histories of the
            others.
        UsageError: ``at_once`` is less than 1.
        KeyboardInterrupt: Ctrl-C. Every model then has the weights of its last finished step.

    Arrays that several jobs share are looked at, and where need be converted, once. Models are independent: a model, a layer,
    an optimizer or a callback that is in two jobs makes the second of them fail.
    """
    if at_once is not None and at_once < 1:
        raise UsageError(f"at_once is {at_once}; it must be 1 or more.", remedy="at_once=2")
    return _Crowd(at_once or host().cores, on_end).run(jobs)


class _Crowd:
    """Jobs under way."""

    def __init__(self, at_once: int, on_end: Callable[[int, Any], None] | None) -> None:
        self._at_once, self._on_end = at_once, on_end
        self._told = threading.Event()
        self._ends: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        self._histories: list[Any] = []
        self._failures: dict[int, BaseException] = {}
        self._names: list[str] = []
        self._under_way = 0
        self._prepare = _Shared(at_once + 1)
        self._claimed: dict[int, tuple[int, Any]] = {}

    def run(self, jobs: Iterable[Job]) -> list[Any]:
        """All jobs; one more than run at once is made ready ahead."""
        pool = ThreadPoolExecutor(self._at_once, "epochwise-job")
        with Interrupts() as interrupts:
            try:
                for number, job in enumerate(jobs):
                    self._begin(pool, number, job)
                    while self._under_way > self._at_once:
                        self._end_one()
                while self._under_way:
                    self._end_one()
            finally:
                self._told.set()  # has an effect only where something was raised
                with interrupts.held():
                    pool.shutdown(wait=True, cancel_futures=True)
        if self._failures:
            raise self._failed()
        return self._histories

    def _begin(self, pool: ThreadPoolExecutor, number: int, job: Job) -> None:
        """Make a job ready, and give it to the pool; what is wrong with it is kept."""
        self._histories.append(None)
        self._names.append(str(getattr(job.model, "name", type(job.model).__name__)))
        try:
            check_arguments(job.given, None)
            self._claim(number, job)
            ready = made_ready(job.model, job.given, self._prepare, job.seed)
            if isinstance(ready, Support):
                raise refused(job.model, ready)
            self._claim_all(number, "a weight", job.model.variables)
        except Exception as error:
            self._failures[number] = error
            return
        self._under_way += 1
        pool.submit(self._train, number, ready)

    def _train(self, number: int, ready: Ready) -> None:
        """In a thread of the pool."""
        history, failure = None, None
        try:
            stopping = Stopping(self._told)
            stopping.check()
            history = ready.train(1, stopping).history
        except BaseException as error:  # whatever it is, it must not be lost in a thread
            failure = error
        self._ends.put((number, history, failure))

    def _end_one(self) -> None:
        """Wait for a job to end."""
        number, history, failure = self._ends.get()
        self._under_way -= 1
        if failure is not None:
            self._failures[number] = failure
            return
        self._histories[number] = history
        if self._on_end is not None:
            self._on_end(number, history)

    def _claim(self, number: int, job: Job) -> None:
        """What no other job may have."""
        self._claim_all(number, "the model", [job.model])
        self._claim_all(number, "the optimizer", [getattr(job.model, "optimizer", None)])
        callbacks = job.given["callbacks"]
        self._claim_all(number, "a callback", callbacks if isinstance(callbacks, list | tuple) else [callbacks])
        given = [job.given["x"], job.given["validation_data"]]
        self._claim_all(number, "a generator", [each for each in given if hasattr(each, "__next__")])

    def _claim_all(self, number: int, what: str, things: Iterable[Any]) -> None:
        for thing in things:
            if thing is None:
                continue
            other, _ = self._claimed.setdefault(id(thing), (number, thing))
            if other != number:
                raise UsageError(
                    f"Job {number} and job {other} share {what} ({getattr(thing, 'name', type(thing).__name__)}).",
                    cause="Jobs are trained at the same time, so each needs its own.",
                    remedy="Job(keras.models.clone_model(model), ...), compiled with an optimizer of its own",
                )

    def _failed(self) -> JobsFailedError:
        lines = [f"  job {number} ({self._names[number]}): {_told(error)}" for number, error in sorted(self._failures.items())]
        more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        error = JobsFailedError(
            f"{len(self._failures)} of {len(self._histories)} jobs were not trained:\n" + "\n".join(lines[:_SHOWN]) + more,
            remedy="the attributes of this error: failures (what was raised, by job), histories (of the other jobs)",
        )
        error.histories, error.failures = self._histories, dict(sorted(self._failures.items()))
        error.__cause__ = next(iter(error.failures.values()))
        return error


def _told(error: BaseException) -> str:
    """An error in one line."""
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"


class _Shared:
    """Checks arrays and puts them into form, once for jobs that share them.

    Args:
        most: as many data sets are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[Any, tuple[Any, Data]] = {}

    def __call__(self, network: Any, x: Any, y: Any, weight: Any = None, **options: Any) -> Data:
        """As :func:`epochwise.engine.samples.prepared`."""
        arrays = (x, y, weight, options.get("class_weight"))
        outputs = (network.shapes[network.input], network.shapes[network.output], network.loss.kind)
        rows = tuple(network.weights[each.table].shape[0] for each in network.operations if hasattr(each, "table"))
        key = (*map(id, arrays), outputs, rows, options.get("whole"), options.get("prefix"))
        if key in self._kept:
            self._kept[key] = self._kept.pop(key)  # the last one used is the last one dropped
            return self._kept[key][1]
        data = prepared(network, x, y, weight, **options)
        self._kept[key] = (arrays, data)  # with the arrays, so that no other object gets their identity
        while len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
        return data
