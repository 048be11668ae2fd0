"""One model under measurement: where it is in its epoch, what was seen so far, and the record of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from epochwise.measuring.growing import Course, growth_of
from epochwise.measuring.measurement import (
    DENORMALS_OUT,
    TURN,
    Block,
    EpochEnd,
    HostTime,
    IdleTime,
    Interval,
    KernelTime,
    ModelMeasurement,
    PlaceSpread,
    Probe,
    Profile,
)
from epochwise.measuring.messages import Condition, Go, Loaded, Paused, ProfiledSteps, Start
from epochwise.measuring.players import Player
from epochwise.measuring.statistics import median_interval

WARM_UP_SECONDS = 0.5
FEWEST_STRETCHES = 4
SHORTEST_STRETCH_SECONDS, STEADY_STRETCHES = 0.05, 3
PAUSE_SECONDS = 0.3
MADE_AHEAD = 0.75
"""Of a steady step: steps after a pause that take less did not wait for their batches, which were made in it."""
LEAD_IN_SHARE = 0.05
LONGEST_LEAD_IN = 20
TURNS_TO_BE_SURE = 3
"""So many turns do not all stall, where one does now and then."""
STALL_SHARE = 0.05
"""Of an epoch: a turn that exceeds the usual one by more is said to have stalled."""

Expected = TypeVar("Expected")


def block_that_fits(steps_per_epoch: int, blocks: int = 1) -> int:
    """Steps of a block of which so many fit an epoch, each with its lead-in, beside the two steps of the turns."""
    room = (steps_per_epoch - 2) // blocks
    return max(1, room - min(LONGEST_LEAD_IN, math.ceil(room * LEAD_IN_SHARE)))


def expect(kind: type[Expected], reply: object) -> Expected:
    """The reply, known to be of this kind."""
    if not isinstance(reply, kind):
        raise TypeError(f"expected {kind.__name__}, got {reply!r}")
    return reply


class Track:
    """Drives one model and keeps what was seen of it.

    Args:
        player: the model, loaded.
        loaded: what it said of itself.
    """

    def __init__(self, player: Player, loaded: Loaded) -> None:
        self.player = player
        self.loaded = loaded
        self.steps_per_epoch = loaded.steps_per_epoch
        self.next_step = 0
        self.step_seconds = math.nan
        self.first_step_seconds = math.nan
        self.block_steps = 1
        self.steady_seconds = 0.0  # of a step that waits for its batch, where batches are made ahead in pauses
        self.longest_lead_in = 0
        self.held: list[float] = []  # seconds, before each block, for which the loop was held
        self._held = 0.0
        self.blocks: list[Block] = []
        self.turns: list[float] = []
        self.hosts: list[tuple[HostTime, ...]] = []  # of each block
        self.turn_hosts: list[tuple[HostTime, ...]] = []  # of each turn
        self.epochs: list[EpochEnd] = []
        self.cpu_seconds = 0.0
        self.peak_memory_bytes = 0
        self.profiles: list[ProfiledSteps] = []
        self.profiled_steps = 0
        self.profiled_wall: list[float] = []
        self.undisturbed: list[float] = []
        self.profiler_works = True
        self.notes: list[str] = list(loaded.notes)
        self.probes: list[Probe] = []
        self.resident: list[int] = []  # after each block
        self.paces: list[float] = []  # after each block
        self.found: dict[str, float] = {}
        self._as_it_is = True  # trained as it was given, under no condition so far

    @property
    def whole_epochs(self) -> bool:
        """Whether a block is whole epochs."""
        return self.block_steps >= self.steps_per_epoch

    @property
    def lead_in(self) -> int:
        """Steps that are run before a block is timed."""
        return max(1, min(LONGEST_LEAD_IN, round(self.block_steps * LEAD_IN_SHARE)))

    @property
    def left_in_epoch(self) -> int:
        """Steps that can run before the last one of the epoch, which belongs to the turn."""
        return self.steps_per_epoch - 1 - self.next_step

    def go(self, lead_in: int, steps: int, *, profile: bool = False, inspect: bool = False) -> Paused:
        """Train on; see :class:`Go`."""
        room = self.steps_per_epoch if self.whole_epochs else self.left_in_epoch - steps
        until = MADE_AHEAD * self.steady_seconds
        paused = expect(Paused, self.player.ask(Go(lead_in, steps, profile, inspect, until, room)))
        self._take(paused)
        if lead_in and until:
            self.longest_lead_in = max(self.longest_lead_in, paused.lead_in - lead_in)
        return paused

    def change(self, condition: Condition) -> None:
        """Begin the training loop anew under a condition, and train its first step.

        Epochs are not noted any more: they are counted from 1 again, and the model comes from another training.
        """
        self.player.tell(condition)
        self._as_it_is = False
        batch_size = condition.batch_size or self.loaded.batch_size
        steps_per_call = math.ceil(self.loaded.samples / self.loaded.batch_size) / self.loaded.steps_per_epoch
        self.steps_per_epoch = math.ceil(self.loaded.samples / batch_size / max(1.0, round(steps_per_call)))
        expect(Paused, self.player.ask(Start()))
        self.next_step = 1

    def quick_step(self) -> float:
        """Seconds of a step under the condition that holds: the shortest of three."""
        return min(self.go(0, 1).seconds for _ in range(3))

    def start(self) -> None:
        """Train the first step, which builds, traces and compiles."""
        paused = expect(Paused, self.player.ask(Start()))
        self._take(paused)
        self.first_step_seconds = paused.seconds

    def warm_up(self) -> None:
        """Train until the time of a step is known: the least of several stretches, since only disturbances make it longer."""
        steps, spent, stretches = 1, 0.0, 0
        self.step_seconds = math.inf
        while spent < WARM_UP_SECONDS or stretches < FEWEST_STRETCHES:
            seconds = self.go(0, steps).seconds
            spent, stretches = spent + seconds, stretches + 1
            self.step_seconds = min(self.step_seconds, seconds / steps)
            steps = max(1, min(2 * steps, math.ceil(WARM_UP_SECONDS / FEWEST_STRETCHES / self.step_seconds)))

    def look_for_batches_made_ahead(self) -> None:
        """See whether the input makes batches while the training pauses, which steps after a pause then need not wait for.

        Steps after a pause are compared with the quickest steps without one, as disturbances only make these longer.
        """
        step = self.step_seconds

        def stretch() -> float:
            nonlocal step
            steps = max(1, round(SHORTEST_STRETCH_SECONDS / step))
            self.make_room(steps + 1)
            seconds = self.go(0, steps).seconds
            step = seconds / steps
            return seconds

        spent = 0.0
        while spent < WARM_UP_SECONDS:  # uses up what was made before
            spent += stretch()
        steady = min(step for _ in range(STEADY_STRETCHES) if stretch())
        time.sleep(PAUSE_SECONDS)
        stretch()
        if step < MADE_AHEAD * steady:
            self.steady_seconds = self.step_seconds = steady

    def turn(self, after: int = 0) -> None:
        """Train to the end of an epoch, or of one so many epochs later, and into the next; the turn between them is timed."""
        paused = self.go(self.left_in_epoch + after * self.steps_per_epoch, 1)
        self.turns.append(max(0.0, paused.seconds - self.step_seconds))
        self.turn_hosts.append(paused.host)

    def make_room(self, steps: int) -> None:
        """See to it that so many steps, and a long lead-in, fit before the end of the epoch, if they can at all."""
        with_lead_in = max(steps, min(steps + self.longest_lead_in, self.steps_per_epoch - 2))
        if steps < self.steps_per_epoch and with_lead_in > self.left_in_epoch:
            self.turn()

    def block(self, since: float, *, lead_in: int | None = None, inspect: bool = False) -> None:
        """One undisturbed block.

        Args:
            since: when measuring began.
            lead_in: steps before it, in place of the usual few.
            inspect: whether the model is looked into afterwards.
        """
        if lead_in is None:
            lead_in = 1 if self.whole_epochs else self.lead_in
        self.make_room(lead_in + self.block_steps)
        paused = self.go(lead_in, self.block_steps, inspect=inspect)
        started_at = time.monotonic() - since - paused.seconds
        self.held.append(self._held)
        self._held = 0.0
        self.found = paused.found or self.found
        self.blocks.append(Block(started_at, self.block_steps, paused.seconds))
        self.hosts.append(paused.host)
        self.resident.append(paused.resident_bytes)
        self.paces.append(paused.pace_seconds)
        self.step_seconds = float(np.median([block.step_seconds for block in self.blocks]))

    def profile(self, steps: int) -> None:
        """An undisturbed and a profiled stretch, one behind the other."""
        for profiled in (False, True):
            self.make_room(1 + steps)
            paused = self.go(1, steps, profile=profiled)
            if not profiled:
                self.undisturbed.append(paused.seconds / steps)
            elif paused.profiled is not None:
                self.profiles.append(paused.profiled)
                self.profiled_steps += steps
                self.profiled_wall.append(paused.profiled.wall_seconds_per_step or paused.seconds / steps)
            elif paused.profiler_failure:
                self.notes.append(f"The profiler could not be used ({paused.profiler_failure}); busy time is unknown.")
                self.profiler_works = False

    def _take(self, paused: Paused) -> None:
        self.next_step = paused.next_step
        self._held += paused.held_seconds
        if self._as_it_is:
            self.epochs.extend(self._finite(ended) for ended in paused.ended)
        self.cpu_seconds = paused.cpu_seconds
        self.peak_memory_bytes = paused.peak_memory_bytes

    def _finite(self, ended: EpochEnd) -> EpochEnd:
        """Without figures that are no numbers, of which a note is made: training that diverges takes time all the same."""
        lost = [name for figures in (ended.train, ended.test) for name, value in figures.items() if not math.isfinite(value)]
        if lost:
            note = f"Training of {self.player.name} diverged: {', '.join(dict.fromkeys(lost))} is not a number"
            self.notes.append(f"{note} after epoch {ended.epoch}; its times are those of a training that goes wrong.")
        train, test = (
            {name: value for name, value in figures.items() if math.isfinite(value)} for figures in (ended.train, ended.test)
        )
        return EpochEnd(ended.epoch, ended.training_seconds, train, test)

    def epoch_values(self) -> list[float]:
        """Seconds of an epoch by each block, without the turn where that is timed by itself."""
        return [block.step_seconds * self.steps_per_epoch for block in self.blocks]

    @property
    def turn_seconds(self) -> float | None:
        """Usual time of a turn beyond a step, ``None`` if none was seen.

        It is the lower quartile: some turns stall for seconds, and with the few that there are, the median might be a stall.
        """
        return float(np.quantile(self.turns, 0.25, method="lower")) if self.turns else None

    def host(self, pairs: int) -> tuple[HostTime, ...]:
        """Where the loop's thread was in an epoch of usual steps and a usual turn; seconds of an epoch."""
        found: dict[tuple[str, bool], list[float]] = {}
        for block, times in zip(self.blocks[:pairs], self.hosts[:pairs], strict=True):
            for time_ in times:
                found.setdefault((time_.place, time_.in_turn), []).append(time_.seconds / block.seconds)
        steps = float(np.median(self.epoch_values()[:pairs])) if self.blocks else 0.0
        usual = [
            HostTime(*key, _median_of(shares, pairs) * steps)
            for key, shares in found.items()
            if self.whole_epochs or not key[1]
        ]
        return tuple(usual) if self.whole_epochs else (*usual, *self._usual_turn())

    def _usual_turn(self) -> tuple[HostTime, ...]:
        """Where the loop's thread was in a usual turn; nothing if none was seen."""
        if self.turn_seconds is None:
            return ()
        number = self.turns.index(self.turn_seconds)
        told = [time_ for time_ in self.turn_hosts[number] if time_.in_turn and time_.place != TURN]
        rest = self.turn_seconds - math.fsum(time_.seconds for time_ in told)
        return (*told, HostTime(TURN, True, max(0.0, rest)))

    @property
    def turn_is_doubtful(self) -> bool:
        """Whether the usual turn might be one that stalled: it took long, for no reason that was seen, and there are few."""
        rest = math.fsum(time_.seconds for time_ in self._usual_turn() if time_.place == TURN)
        few = not self.whole_epochs and len(self.turns) < TURNS_TO_BE_SURE
        return few and rest > STALL_SHARE * self.steps_per_epoch * self.step_seconds

    def course(self, others: Sequence[Sequence[float]]) -> Course:
        """What was seen block by block, and step times of the models measured in turn with it."""
        tried = next((probe for probe in self.probes if probe.name == DENORMALS_OUT), None)
        hosts = [
            {time_.place: time_.seconds / block.steps for time_ in times if not time_.in_turn}
            for block, times in zip(self.blocks, self.hosts, strict=True)
        ]
        return Course(
            steps=[block.step_seconds for block in self.blocks],
            resident=self.resident,
            paces=self.paces,
            hosts=hosts,
            found=self.found,
            denormals_cost=None if tried is None else tried.shortens,
            others=others,
        )

    @property
    def stalls(self) -> list[float]:
        """Turns that took much longer than usual."""
        longest = (self.turn_seconds or 0.0) + STALL_SHARE * self.steps_per_epoch * self.step_seconds
        return [turn for turn in self.turns if turn > longest]

    @property
    def added_turn(self) -> float:
        """What comes on top of an epoch's steps."""
        return 0.0 if self.whole_epochs else (self.turn_seconds or 0.0)


def record(track: Track, pairs: int, others: Sequence[Sequence[float]] = ()) -> ModelMeasurement:
    """The record of one model.

    Args:
        track: of the model.
        pairs: how many of its blocks are kept, as many as of the other model.
        others: seconds of a step of the models measured in turn with it, block by block.
    """
    values = track.epoch_values()[:pairs]
    steps = median_interval(values)
    turn = track.added_turn
    epoch = Interval(steps.median + turn, steps.low + turn, steps.high + turn)
    notes = list(track.notes)
    if not track.whole_epochs:
        seen = "and one turn between epochs" if track.turns else "; the turn between epochs was not reached and is left out"
        notes.append(
            f"An epoch of {track.player.name} is put together from blocks of {track.block_steps:,} steps"
            f" ({track.steps_per_epoch:,} steps an epoch) {seen}."
        )
    if track.stalls and not track.whole_epochs:
        notes.append(
            f"{len(track.stalls)} of {len(track.turns)} turns between epochs of {track.player.name} stalled"
            f" ({max(track.stalls):.2g} s at most, where {track.turn_seconds:.2g} s is usual)."
            " The seconds per epoch hold a usual turn."
        )
    grown = growth_of(track.course(others))
    if grown is not None:
        notes.append(
            f"Steps of {track.player.name} grew slower while being measured, by {grown.share:.0%} from first to last quarter"
            f" (95 % interval {grown.low:.0%} to {grown.high:.0%}): {grown.evidence}."
        )
    complete = bool(track.epochs) and not track.steady_seconds  # batches made in pauses would shorten it
    first_epoch = (
        track.epochs[0].training_seconds
        if complete
        else track.first_step_seconds + (track.steps_per_epoch - 1) * track.step_seconds + turn
    )
    loaded = track.loaded
    return ModelMeasurement(
        name=loaded.name,
        backend=loaded.backend,
        samples=loaded.samples,
        batch_size=loaded.batch_size,
        steps_per_epoch=loaded.steps_per_epoch,
        epoch_seconds=epoch,
        whole_epochs=track.whole_epochs,
        turn_seconds=track.turn_seconds,
        turns=tuple(track.turns),
        host=track.host(pairs),
        blocks=tuple(track.blocks[:pairs]),
        first_step_seconds=track.first_step_seconds,
        first_epoch_seconds=first_epoch,
        first_epoch_extrapolated=not complete,
        epochs=tuple(track.epochs),
        profile=_profile_of(track),
        probes=tuple(track.probes),
        growth=grown,
        threads=loaded.threads,
        versions=loaded.versions,
        device=loaded.device,
        peak_memory_bytes=track.peak_memory_bytes,
        notes=tuple(notes),
    )


def _median_of(shares: list[float], blocks: int) -> float:
    """The median over all blocks; blocks in which a place does not occur count as 0."""
    return float(np.median([*shares, *[0.0] * (blocks - len(shares))]))


def _profile_of(track: Track) -> Profile | None:
    """All rounds of profiling put together: of each figure the median over the rounds."""
    if not track.profiles:
        return None
    names = dict.fromkeys((kernel.name, kernel.layer, kernel.phase) for profile in track.profiles for kernel in profile.kernels)
    by_round = [{(kernel.name, kernel.layer, kernel.phase): kernel for kernel in profile.kernels} for profile in track.profiles]
    kernels = [
        KernelTime(
            *name,
            seconds_per_step=_median([kernels[name].seconds_per_step if name in kernels else 0.0 for kernels in by_round]),
            calls_per_step=_median([kernels[name].calls_per_step if name in kernels else 0.0 for kernels in by_round]),
        )
        for name in names
    ]
    kernels.sort(key=lambda kernel: -kernel.seconds_per_step)
    stays = dict.fromkeys(place for profile in track.profiles for place in profile.stays)
    return Profile(
        tool=track.profiles[0].tool,
        steps=track.profiled_steps,
        wall_seconds_per_step=_median(track.profiled_wall),
        undisturbed_seconds_per_step=_median(track.undisturbed),
        busy_seconds_per_step=math.fsum(kernel.seconds_per_step for kernel in kernels),
        kernels=tuple(kernels),
        idle=_idle_of(track.profiles),
        stays={place: _median([profile.stays.get(place, 0.0) for profile in track.profiles]) for place in stays},
        spread=_spread_of(track.profiles),
        notes=track.profiles[0].notes,
    )


def _median(values: list[float]) -> float:
    return float(np.median(values))


def _idle_of(profiles: list[ProfiledSteps]) -> tuple[IdleTime, ...]:
    by_round = [{(idle.place, idle.layer, idle.phase): idle.seconds_per_step for idle in profile.idle} for profile in profiles]
    names = dict.fromkeys(name for idle in by_round for name in idle)
    return tuple(IdleTime(*name, _median([idle.get(name, 0.0) for idle in by_round])) for name in names)


def _spread_of(profiles: list[ProfiledSteps]) -> tuple[PlaceSpread, ...]:
    """The least and the most kernel time of each layer and phase over the rounds."""
    by_round: list[dict[tuple[str | None, str | None], float]] = []
    for profile in profiles:
        seconds: dict[tuple[str | None, str | None], float] = {}
        for kernel in profile.kernels:
            place = kernel.layer, kernel.phase
            seconds[place] = seconds.get(place, 0.0) + kernel.seconds_per_step
        by_round.append(seconds)
    places = dict.fromkeys(place for seconds in by_round for place in seconds)
    return tuple(
        PlaceSpread(*place, min(values), max(values))
        for place in places
        if (values := [seconds.get(place, 0.0) for seconds in by_round])
    )
