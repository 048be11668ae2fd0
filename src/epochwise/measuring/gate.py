"""The gate: lets a training loop run so many steps, times them, and holds it until it is told to go on.

The loop calls :meth:`Gate.before_step` before every step, :meth:`Gate.steps_ended` after the last step of an epoch and
:meth:`Gate.epoch_ended` when the epoch's results are there. Between two pauses the gate only counts down, so that the loop runs
as it would without it. A stretch is timed from the moment the gate opens to the moment the loop has come back and the device
has finished; the evaluation at the end of an epoch that is ours is left out.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import psutil

from epochwise.errors import DataError
from epochwise.measuring.clock import GATE, HostClock
from epochwise.measuring.measurement import EpochEnd
from epochwise.measuring.messages import Condition, Go, Paused, ProfiledSteps, Reply, Request, Start, Stop

Message = TypeVar("Message", Start, Go)


class StopTraining(Exception):  # noqa: N818 - not an error: the way out of a framework's loop
    """Raised through the training loop when there is nothing more to measure."""


class ChangeCondition(StopTraining):
    """Raised through the training loop when it is to begin anew with something changed."""

    def __init__(self, condition: Condition) -> None:
        super().__init__()
        self.condition = condition


class Channel(Protocol):
    """The worker's side of its connection."""

    def receive(self) -> Request:
        """Wait for the next request."""

    def send(self, reply: Reply) -> None:
        """Answer."""


class Runtime(Protocol):
    """What the gate needs of a framework."""

    def synchronize(self) -> None:
        """Return when all work given to the device is done."""

    def start_profiler(self) -> None:
        """Begin to record kernels."""

    def annotate(self, name: str) -> contextlib.AbstractContextManager[object]:
        """A scope in the recording, while the profiler runs."""

    def stop_profiler(self, steps: int) -> ProfiledSteps:
        """End recording; what was seen, per step."""

    def cancel_profiler(self) -> None:
        """End recording if it is under way, and forget it: the loop was left. May be called from any thread."""

    def inspect(self) -> dict[str, float]:
        """What is to be found in the model between two steps, see :attr:`Paused.found`."""


def resident_bytes() -> tuple[int, int]:
    """Resident size of this process: now, and the largest so far."""
    with contextlib.suppress(FileNotFoundError), Path("/proc/self/status").open("rb", buffering=0) as status:
        told = status.read()
        if b"VmHWM:" in told:
            now, peak = (int(told.partition(name)[2].split(maxsplit=1)[0]) * 1024 for name in (b"VmRSS:", b"VmHWM:"))  # kB
            return now, peak
    # On Linux this would begin with the size of the process that started this one.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return psutil.Process().memory_info().rss, peak if sys.platform == "darwin" else peak * 1024


PACE_COUNT, PACE_TIMES = 1_000, 3


def pace_seconds() -> float:
    """Seconds of a piece of work that is always the same, the shortest of some; it takes less than a tenth of a millisecond."""
    found = []
    for _ in range(PACE_TIMES):
        began = time.perf_counter()
        sum(range(PACE_COUNT))
        found.append(time.perf_counter() - began)
    return min(found)


class Gate:
    """Runs a training loop stretch by stretch.

    Args:
        channel: where requests come from and answers go.
        runtime: how to wait for the device and how to profile.
        evaluate: loss and metrics on the test data, or ``None`` without test data.

    Attributes:
        clock: where the loop's thread is; the loop tells it of its stays.
    """

    def __init__(self, channel: Channel, runtime: Runtime, evaluate: Callable[[], dict[str, float]] | None) -> None:
        self.clock = HostClock()
        self._channel = channel
        self._runtime = runtime
        self._evaluate = evaluate
        self._countdown = 0
        self._go = Go(lead_in=0, steps=1)
        self._leading_in = False
        self._led_in = 0
        self._step_began = 0.0
        self._opened_at = 0.0
        self._resumed_at = 0.0
        self._left_out = 0.0
        self._held = 0.0
        self._trained = 0.0
        self._epoch = 1
        self._stepped = False
        self._ended: list[EpochEnd] = []
        self._profiler_failure = ""

    def begin(self) -> None:
        """Wait for :class:`Start`; the time to the end of the first step counts from here."""
        self._expect(Start)
        self._countdown = 1
        self.clock.start()
        self._opened_at = self._resumed_at = time.perf_counter()

    def before_step(self, step: int) -> None:
        """Called by the loop before each step; ``step`` is its place in the epoch, from 0."""
        self.clock.end_turn()
        self._stepped = True
        if self._countdown:
            self._countdown -= 1
        elif self._leading_in:
            self._lead_in()
        else:
            self._arrive(step)

    def steps_ended(self) -> None:
        """Called by the loop after the last step of an epoch; what follows until the next step is the turn."""
        if self.clock.in_step:
            self._runtime.synchronize()
            self.clock.begin_turn()

    def epoch_ended(self, train: dict[str, float]) -> None:
        """Called by the loop after each epoch, with what the framework reports for it.

        Raises:
            DataError: the epoch had no step, so that nothing more can come.
        """
        if not self._stepped:
            raise DataError(
                f"The stream of batches is at its end after {self._epoch - 1} epochs; there is nothing more to train on.",
                cause="A generator that ends, such as one over a single epoch.",
                remedy="while True: ... yield x, y",
            )
        self._stepped = False
        self.steps_ended()
        self._runtime.synchronize()
        began = time.perf_counter()
        with self.clock.stay(GATE):
            test = self._evaluate() if self._evaluate else {}
        trained = self._trained + (began - self._resumed_at) - self._left_out
        self._ended.append(EpochEnd(self._epoch, trained, train, test))
        self._epoch += 1
        self._left_out += time.perf_counter() - began

    def _lead_in(self) -> None:
        """A step that leads up to a stretch has ended: run another one, or open."""
        now = time.perf_counter()
        taken, self._step_began = now - self._step_began, now
        self._led_in += 1
        if self._led_in < self._go.lead_in or (taken < self._go.until and self._led_in < self._go.longest):
            return
        self._runtime.synchronize()
        self._open()
        self._held += time.perf_counter() - now

    def _arrive(self, step: int) -> None:
        """The loop has come to the end of a stretch."""
        arrived = time.perf_counter()
        self._runtime.synchronize()
        now = time.perf_counter()
        seconds = now - self._opened_at - self._left_out
        host = self.clock.read()
        profiled = self._profiled()
        resident, peak = resident_bytes()
        self._trained += now - self._resumed_at - self._left_out
        self._channel.send(
            Paused(
                seconds=seconds,
                steps=self._go.steps,
                epoch=self._epoch,
                next_step=step,
                ended=tuple(self._ended),
                peak_memory_bytes=peak,
                cpu_seconds=time.process_time(),
                profiled=profiled,
                profiler_failure=self._profiler_failure,
                host=host,
                resident_bytes=resident,
                pace_seconds=pace_seconds(),
                found=self._runtime.inspect() if self._go.inspect else {},
                lead_in=self._led_in,
                held_seconds=self._held,
            )
        )
        self._ended.clear()
        self._go = self._expect(Go)
        self._left_out = 0.0
        self._resumed_at = self._step_began = time.perf_counter()
        self._leading_in = self.clock.paused = self._go.lead_in > 0
        # Only the last step that leads in is looked at, unless the lead-in may go on.
        self._led_in = self._countdown = 0 if self._go.until else max(0, self._go.lead_in - 1)
        if not self._leading_in:
            self._open()
        self._held = time.perf_counter() - arrived

    def _open(self) -> None:
        """Start the clock; the step about to run is the first that is timed."""
        self._leading_in = self.clock.paused = False
        self._trained += time.perf_counter() - self._resumed_at - self._left_out
        if self._go.profile:
            self._start_profiler()
        self._left_out = 0.0
        self._countdown = self._go.steps - 1
        self.clock.start()
        self._opened_at = self._resumed_at = time.perf_counter()

    def _start_profiler(self) -> None:
        self._profiler_failure = ""
        try:
            self._runtime.start_profiler()
            self.clock.annotate = self._runtime.annotate
        except Exception as error:  # a framework's profiler may be missing, busy or broken in any way
            self._profiler_failure = f"{type(error).__name__}: {error}"

    def _profiled(self) -> ProfiledSteps | None:
        self.clock.annotate = None
        if not self._go.profile or self._profiler_failure:
            return None
        try:
            return self._runtime.stop_profiler(self._go.steps)
        except Exception as error:
            self._profiler_failure = f"{type(error).__name__}: {error}"
            return None

    def _expect(self, kind: type[Message]) -> Message:
        message = self._channel.receive()
        if isinstance(message, Stop):
            raise StopTraining
        if isinstance(message, Condition):
            raise ChangeCondition(message)
        if not isinstance(message, kind):
            raise TypeError(f"expected {kind.__name__}, got {message!r}")
        return message
