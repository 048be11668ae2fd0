"""Threads that run programs: as many as asked for, asleep between runs."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.code import Call, Place
from epochwise.engine.kernels.course import CLAIM_WORDS, course
from epochwise.engine.library import Library
from epochwise.engine.locks import Lock
from epochwise.engine.plan import Program

_COURSE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_PLACE_WORDS = 16
"""Two cache lines, so that threads do not write to the same one."""


@cache
def crew_of(threads: int, library: Library) -> Crew:
    """A crew of so many, which all networks of this process share."""
    return Crew(threads, library)


class Crew:
    """The calling thread and ``threads - 1`` others. It runs one program at a time; who comes meanwhile waits.

    A crew of one has no others: any number of threads run programs with it at once.
    """

    def __init__(self, threads: int, library: Library) -> None:
        self.threads = threads
        self._course = _COURSE(library.load([course()])[course()])
        self._give_way = _address_of_yield()
        self._helpers: list[_Helper] = []
        self._process = os.getpid()
        self._busy = nullcontext() if threads == 1 else Lock()

    def run(self, program: Program, first_step: int, last_step: int, samples: int, batch: int) -> None:
        """Run these steps of a program, over ``samples`` samples in batches; returns when all threads are done."""
        with self._busy:
            while first_step < last_step:
                threads, steps = program.workers.next(last_step - first_step)
                start = time.perf_counter()
                self._run(program, threads, first_step, first_step + steps, samples, batch)
                program.workers.took(threads, steps, time.perf_counter() - start)
                first_step += steps

    def _run(self, program: Program, threads: int, first_step: int, last_step: int, samples: int, batch: int) -> None:
        """The same with so many threads, which do the shares of all."""
        done, claims = np.zeros(CLAIM_WORDS, np.int64), np.zeros((self.threads, CLAIM_WORDS), np.int64)
        arguments = Call(
            course(),
            {
                "stretches": program.stretches,
                "stretches_in_all": len(program.stretches),
                "parts": program.parts,
                "calls": program.calls,
                "first_step": first_step,
                "last_step": last_step,
                "samples": samples,
                "batch": batch,
                "done": done,
                "claims": claims,
                "give_way": self._give_way,
            },
        ).words()
        places = np.zeros((threads, _PLACE_WORDS), np.int64)
        places[:, Place.THREAD], places[:, Place.THREADS] = np.arange(threads), self.threads
        others = self._others()[: threads - 1]
        for helper, place in zip(others, places[1:], strict=True):
            helper.start(lambda place=place: self._go(arguments, place))  # type: ignore[misc]
        self._go(arguments, places[0])
        for helper in others:
            helper.wait()

    def _go(self, arguments: NDArray[np.int64], place: NDArray[np.int64]) -> None:
        self._course(arguments.ctypes.data, place.ctypes.data)

    def _others(self) -> list[_Helper]:
        """The other threads; a process that was forked has none of its parent's."""
        if self._process != os.getpid():
            self._helpers, self._process = [], os.getpid()
        while len(self._helpers) < self.threads - 1:
            self._helpers.append(_Helper())
        return self._helpers


class _Helper:
    """A thread that does what it is given, one thing after another."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True, name="epochwise-engine").start()

    def start(self, work: Callable[[], None]) -> None:
        self._work.put(work)

    def wait(self) -> None:
        self._done.get()

    def _serve(self) -> None:
        while True:
            self._work.get()()
            self._done.put(None)


def _address_of_yield() -> int:
    """Of the C function that lets another thread run."""
    windows = os.name == "nt"
    function = ctypes.WinDLL("kernel32").SwitchToThread if windows else ctypes.CDLL(None).sched_yield  # type: ignore[attr-defined]
    return ctypes.cast(function, ctypes.c_void_p).value or 0
