"""What the measuring process and its workers say to each other: MessagePack, one message at a time, each a record.

The worker loads a model, then trains it step by step; before each stretch it waits for a :class:`Go` and answers with
:class:`Paused`. Whoever does not speak is idle, so two workers never run at once.
"""

from __future__ import annotations

import msgspec

from epochwise.counting.counts import Counts
from epochwise.machines.machine import Machine
from epochwise.measuring.measurement import EpochEnd, HostTime, IdleTime, KernelTime
from epochwise.subjects.datasets import DataSpec


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load a model and its data, and count its step."""

    model: str
    data: DataSpec
    backend: str
    batch_size: int
    seed: int
    name: str | None = None


class Start(msgspec.Struct, frozen=True, tag=True):
    """Begin training; answered after the first step."""


class Go(msgspec.Struct, frozen=True, tag=True):
    """Train on: some steps that lead in and are not timed, then some that are.

    Attributes:
        lead_in: steps that lead in, at least.
        steps: steps that are timed.
        profile: whether the profiler runs meanwhile.
        inspect: whether the model is looked into afterwards, see :attr:`Paused.found`.
        until: the lead-in goes on until a step takes so many seconds: until batches are used up that were made in a pause.
        longest: steps of a lead-in that goes on.
    """

    lead_in: int
    steps: int
    profile: bool = False
    inspect: bool = False
    until: float = 0.0
    longest: int = 0


class Condition(msgspec.Struct, frozen=True, tag=True):
    """Leave the training loop and begin it anew with something changed; followed by :class:`Start`.

    Attributes:
        batch_size: samples in a step; ``None`` for the usual number.
        threads: threads for kernels; ``None`` for the usual number.
        denormals: whether weights that are denormal stay; if not they are zero from then on.
        compiled: whether the step may be compiled, if it usually is.
    """

    batch_size: int | None = None
    threads: int | None = None
    denormals: bool = True
    compiled: bool = True


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Leave."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model is ready.

    Attributes:
        counts: of its training step, from a trace made in the worker.
        accelerator: peaks of the device that the kernels run on, if that is not the processor.
        notes: what loading had to decide, in plain sentences.
        can_restart: whether its loop can begin anew; a generator's cannot, whose batches another thread may be fetching.
        compiled: whether the whole step is compiled.
        can_change_batch: whether it can be tried with another batch size.
        can_change_threads: whether it can be tried with another number of threads.
    """

    name: str
    backend: str
    counts: Counts
    samples: int
    batch_size: int
    steps_per_epoch: int
    data: str
    threads: dict[str, int]
    versions: dict[str, str]
    device: str
    accelerator: Machine | None = None
    notes: tuple[str, ...] = ()
    can_restart: bool = True
    compiled: bool = False
    can_change_batch: bool = False
    can_change_threads: bool = False


class ProfiledSteps(msgspec.Struct, frozen=True):
    """What the profiler saw of a typical step of one :class:`Go`; seconds per step.

    Attributes:
        tool: the profiler.
        kernels: by name, layer and phase.
        idle: time in which no kernel ran, by where the loop's thread was; all but dispatch where ``wall_seconds_per_step`` is
            ``None``.
        stays: seconds in each place of the loop's thread.
        wall_seconds_per_step: median over the steps; ``None`` where the recording does not tell them apart.
        notes: what the profiler could not see.
    """

    tool: str
    kernels: tuple[KernelTime, ...]
    idle: tuple[IdleTime, ...] = ()
    stays: dict[str, float] = msgspec.field(default_factory=dict)
    wall_seconds_per_step: float | None = None
    notes: tuple[str, ...] = ()


class Paused(msgspec.Struct, frozen=True, tag=True):
    """Some steps were trained.

    Attributes:
        seconds: time of the timed steps, evaluation left out.
        steps: how many.
        epoch: the epoch that the next step belongs to, from 1.
        next_step: place of the next step in its epoch, from 0.
        ended: epochs that ended since the last message.
        peak_memory_bytes: largest resident size so far.
        cpu_seconds: processor time of the worker so far.
        profiled: ``None`` unless asked for.
        profiler_failure: why there is no profile although one was asked for; empty otherwise.
        host: where the loop's thread was during the timed steps.
        resident_bytes: size of the process now.
        pace_seconds: of a piece of work that is always the same, done now.
        found: what was found in the model, if that was asked for: ``denormals``, the share of weights that are; ``threads``.
        lead_in: steps that led in.
        held_seconds: for which the loop was held at the beginning of these steps and their lead-in: until the device had
            finished what it had been given before, and until it was said how to go on.
    """

    seconds: float
    steps: int
    epoch: int
    next_step: int
    ended: tuple[EpochEnd, ...]
    peak_memory_bytes: int
    cpu_seconds: float
    profiled: ProfiledSteps | None = None
    profiler_failure: str = ""
    host: tuple[HostTime, ...] = ()
    resident_bytes: int = 0
    pace_seconds: float = 0.0
    found: dict[str, float] = msgspec.field(default_factory=dict)
    lead_in: int = 0
    held_seconds: float = 0.0


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot go on; an error of :mod:`epochwise.errors` by its class name, or another exception as text."""

    kind: str
    what: str
    cause: str
    remedy: str


Request = Load | Start | Go | Condition | Stop
Reply = Loaded | Paused | Failed
