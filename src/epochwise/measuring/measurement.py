"""The record of a measurement: wall times of real epochs, where they went, and their spread.

All times are seconds. "Undisturbed" means without a profiler; only undisturbed times are shown as what an epoch takes.
"""

from __future__ import annotations

import math

import msgspec

INPUT = "input pipeline"
VALIDATION = "validation"
TURN = "turn between epochs"
DISPATCH = "dispatch and Python"
"""Where the training loop's own thread can be, besides in a callback (``callback <class>``)."""


class Interval(msgspec.Struct, frozen=True):
    """A median with its 95 % confidence interval (bootstrap); ``low`` and ``high`` equal it where only one value is known."""

    median: float
    low: float
    high: float


class Block(msgspec.Struct, frozen=True):
    """One undisturbed stretch of training.

    Attributes:
        started_at: seconds since measuring began.
        steps: steps in it.
        seconds: time they took together.
    """

    started_at: float
    steps: int
    seconds: float

    @property
    def step_seconds(self) -> float:
        """Mean seconds of a step."""
        return self.seconds / self.steps


class EpochEnd(msgspec.Struct, frozen=True):
    """What was known when an epoch ended.

    Attributes:
        epoch: counted from 1.
        training_seconds: since training began, pauses and evaluation left out.
        train: the loss and metrics that the framework reports for this epoch.
        test: loss and metrics on the test data; empty without test data.
    """

    epoch: int
    training_seconds: float
    train: dict[str, float]
    test: dict[str, float]


class KernelTime(msgspec.Struct, frozen=True):
    """Time of one kind of kernel in one place.

    Attributes:
        name: the framework's name of the kernel or fused group of kernels.
        layer: the layer it works for, as in ``Counts.layers``; ``None`` where the profile does not tell.
        phase: ``forward``, ``backward`` or ``update``; ``None`` where the profile does not tell.
        seconds_per_step: as profiled. Where several kernels run at once, each is given an equal share of the moment, so that
            all shares add up to the busy time.
        calls_per_step: how often it runs.
    """

    name: str
    layer: str | None
    phase: str | None
    seconds_per_step: float
    calls_per_step: float


class HostTime(msgspec.Struct, frozen=True):
    """How long the training loop's own thread was in one place, measured without a profiler.

    Attributes:
        place: ``input pipeline``, ``validation``, ``callback <class>``, or ``turn between epochs`` for what is left of one.
        in_turn: whether that was between two epochs.
        seconds: how long, of the stretch or epoch that it is told of.
    """

    place: str
    in_turn: bool
    seconds: float


class IdleTime(msgspec.Struct, frozen=True):
    """Time of a profiled step in which no kernel ran, by where the training loop's thread was.

    Attributes:
        place: as in :class:`HostTime`, or ``dispatch and Python`` for everything else.
        layer: the layer whose code the thread was in, where the framework runs layers one by one; ``None`` otherwise.
        phase: of that layer.
        seconds_per_step: as profiled.
    """

    place: str
    layer: str | None
    phase: str | None
    seconds_per_step: float


class PlaceSpread(msgspec.Struct, frozen=True):
    """How much the kernel time of one layer and phase varied over the rounds of profiling.

    Attributes:
        layer: as in :class:`KernelTime`.
        phase: as in :class:`KernelTime`.
        low: the least of a round, in seconds per profiled step.
        high: the most.
    """

    layer: str | None
    phase: str | None
    low: float
    high: float


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What the framework's own profiler saw of some steps, and what it cost.

    Attributes:
        tool: the profiler and what read it.
        steps: steps profiled.
        wall_seconds_per_step: with the profiler running.
        undisturbed_seconds_per_step: of the blocks measured in turn with the profiled ones.
        busy_seconds_per_step: time in which at least one kernel ran, with the profiler running.
        kernels: where the busy time went; the sum is ``busy_seconds_per_step``.
        idle: where the training loop's thread was while no kernel ran, as far as the profile tells.
        stays: seconds per profiled step in each place of the loop's thread, whether kernels ran meanwhile or not.
        spread: of the kernel time of each layer and phase.
        notes: what the profiler could not see.
    """

    tool: str
    steps: int
    wall_seconds_per_step: float
    undisturbed_seconds_per_step: float
    busy_seconds_per_step: float
    kernels: tuple[KernelTime, ...]
    idle: tuple[IdleTime, ...] = ()
    stays: dict[str, float] = msgspec.field(default_factory=dict)
    spread: tuple[PlaceSpread, ...] = ()
    notes: tuple[str, ...] = ()

    def idle_in(self, place: str) -> float:
        """Seconds of a profiled step in which no kernel ran while the loop's thread was in this place."""
        return math.fsum(idle.seconds_per_step for idle in self.idle if idle.place == place)

    @property
    def overhead(self) -> float:
        """Cost of profiling as a share of the undisturbed step: 0.1 means that a profiled step took 10 % longer."""
        return self.wall_seconds_per_step / self.undisturbed_seconds_per_step - 1.0

    @property
    def busy_share(self) -> float:
        """Busy share of a profiled step, which is taken to be that of an undisturbed one."""
        return min(1.0, self.busy_seconds_per_step / self.wall_seconds_per_step)

    @property
    def busy_share_bounds(self) -> tuple[float, float]:
        """Busy share of an undisturbed step if the profiler's cost fell wholly inside, or wholly outside, the kernels."""
        cost = max(0.0, self.wall_seconds_per_step - self.undisturbed_seconds_per_step)
        inside = max(0.0, self.busy_seconds_per_step - cost) / self.undisturbed_seconds_per_step
        outside = self.busy_seconds_per_step / self.undisturbed_seconds_per_step
        return min(1.0, inside, self.busy_share), min(1.0, max(outside, self.busy_share))


BATCH = "larger batch"
ONE_THREAD = "one thread"
DENORMALS_OUT = "denormals out"
NOT_COMPILED = "not compiled"
"""Names of probes."""


class Probe(msgspec.Struct, frozen=True):
    """A few steps with one thing changed, beside as many usual ones.

    Attributes:
        name: what was changed: ``larger batch``, ``one thread``, ``denormals out``, ``not compiled``.
        batch_size: samples in its steps.
        steps: about how many were timed.
        seconds_per_step: with the change.
        usual_seconds_per_step: without it, before and after.
        found: figures that belong to it: ``denormals``, the share of weights that are; ``threads`` in use without the change.
        usual_low_seconds_per_step: where the 95 % interval of the time without the change begins; ``None`` in records of before
            it was kept.
    """

    name: str
    batch_size: int
    steps: int
    seconds_per_step: Interval
    usual_seconds_per_step: float
    found: dict[str, float] = msgspec.field(default_factory=dict)
    usual_low_seconds_per_step: float | None = None

    @property
    def shortens(self) -> bool:
        """Whether steps with the change are shorter beyond chance: the two intervals do not meet."""
        return self.seconds_per_step.high < (self.usual_low_seconds_per_step or self.usual_seconds_per_step)


class Growth(msgspec.Struct, frozen=True):
    """Steps that grow slower while a model trains.

    Attributes:
        share: how much longer a step of the last quarter of the blocks takes than one of the first: 0.5 is half more.
        low: of its 95 % interval (bootstrap).
        high: of its interval.
        cause: a place of the loop's thread (``callback <class>``, ``input pipeline``), ``denormals``, ``machine`` (another
            model, measured in turn, or a piece of work that is always the same slows down alike), ``memory`` (the process
            grows), ``training`` (none of these: each step does more), or ``unknown``.
        evidence: what was measured, in a sentence.
    """

    share: float
    low: float
    high: float
    cause: str
    evidence: str


class ModelMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """One model's part of a measurement.

    Attributes:
        name: short name of the model.
        backend: ``tensorflow``, ``jax`` or ``torch`` (Keras), or ``pytorch``.
        samples: training samples in an epoch.
        batch_size: samples in a step.
        steps_per_epoch: calls of the training function in an epoch.
        epoch_seconds: an undisturbed epoch in steady state.
        whole_epochs: True when blocks were whole epochs; False when an epoch is put together from steps and one turn.
        turn_seconds: usual time from the last step of an epoch to the first of the next, beyond a step: the lower quartile of
            the turns; ``None`` if none was seen.
        turns: all that were timed by themselves.
        host: where the training loop's own thread was, seconds of an epoch; what is left of the epoch is its steps.
        blocks: every undisturbed block that counts.
        first_step_seconds: from the call of ``fit`` to the end of the first step: building, tracing, compiling.
        first_epoch_seconds: the whole first epoch.
        first_epoch_extrapolated: whether its end was put together from steps of the steady state.
        epochs: what was known at the end of each epoch that was run to its end.
        profile: ``None`` where it was not made.
        probes: steps with one thing changed, to see what it costs.
        growth: of the time of a step while the model trained; ``None`` where there was none to speak of.
        threads: threads that the framework uses, by its own name for each pool.
        versions: of the framework and what it stands on.
        device: where the kernels ran: ``cpu``, or the framework's name of an accelerator.
        peak_memory_bytes: largest resident size of the process.
        notes: in plain sentences.
    """

    name: str
    backend: str
    samples: int
    batch_size: int
    steps_per_epoch: int
    epoch_seconds: Interval
    whole_epochs: bool
    turn_seconds: float | None
    turns: tuple[float, ...] = ()
    host: tuple[HostTime, ...] = ()
    blocks: tuple[Block, ...]
    first_step_seconds: float
    first_epoch_seconds: float
    first_epoch_extrapolated: bool
    epochs: tuple[EpochEnd, ...]
    profile: Profile | None
    probes: tuple[Probe, ...] = ()
    growth: Growth | None = None
    threads: dict[str, int]
    versions: dict[str, str]
    device: str
    peak_memory_bytes: int
    notes: tuple[str, ...] = ()


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """Models measured in turn, A B A B, block by block, on one machine.

    Attributes:
        models: in the order given.
        ratio: second model's epoch over the first's, with its interval (paired bootstrap over the blocks); ``None`` for one
            model.
        pairs: how many blocks of each model count.
        budget_seconds: what was asked for.
        measuring_seconds: what undisturbed blocks took.
        other_load_cores: processor time that other programs used meanwhile, in cores; ``None`` if not known.
        data: name and origin of the data.
        interrupted: True if the user stopped the measurement before its budget was spent.
        notes: in plain sentences.
    """

    models: tuple[ModelMeasurement, ...]
    ratio: Interval | None
    pairs: int
    budget_seconds: float
    measuring_seconds: float
    other_load_cores: float | None
    data: str
    interrupted: bool = False
    notes: tuple[str, ...] = ()
