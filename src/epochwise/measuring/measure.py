"""Measures one model, or two in turn: A B A B, block by block, then a profile of each.

A block is so many steps of the model's own training loop. Where epochs are short, blocks are whole epochs.
Otherwise an epoch is put together: its steps, at the median time of a step, and one turn (from the last step of an epoch to the
first of the next), timed by itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from epochwise.counting.counts import Counts
from epochwise.errors import BudgetTooSmallError, WorkerDiedError
from epochwise.machines.load import OtherLoad
from epochwise.machines.machine import Machine
from epochwise.measuring.disturbances import LOAD_WORTH_SAYING_CORES, disturbances
from epochwise.measuring.measurement import Measurement
from epochwise.measuring.messages import Load, Loaded
from epochwise.measuring.players import Player
from epochwise.measuring.probes import PROBE_SHARE, conditions_for, probe
from epochwise.measuring.statistics import FEWEST_FOR_INTERVAL, paired_ratio
from epochwise.measuring.track import LEAD_IN_SHARE, Track, block_that_fits, expect, record
from epochwise.measuring.workers import Worker


class Measured(NamedTuple):
    """What measuring gives: the record, and for each model the counts of its step and the peaks of its accelerator, if any."""

    measurement: Measurement
    counts: tuple[Counts, ...]
    accelerators: tuple[Machine | None, ...]


Progress = Callable[[float, float, str], None]
"""Called with what is done, of how much, and what is being done."""

MOST_PAIRS = 300
"""Many short blocks give a narrower interval than few long ones: what disturbs a block is mostly shorter than a second."""
FEWEST_PAIRS = 40
"""That are planned for, where blocks of steps or epochs worth timing allow no more."""
STEPS_WORTH_TIMING = 16
"""In a block, so that waiting for the device at both ends weighs little."""
SHORTEST_BLOCK_SECONDS = 0.05
LEAST_SHARE = 1 / 3
"""Of the time of a pair, for the faster model: its steps are the noisier ones."""
PROFILE_ROUNDS = 4
PROFILE_SECONDS = 0.4
MOST_PROFILED_STEPS = 40
FINISH_SHARE = 0.5
"""An epoch under way when the budget is spent is finished if that takes no more than this share of the budget."""


def measure(loads: Sequence[Load], seconds: float, progress: Progress | None = None) -> Measured:
    """Measure models given by name, each in a worker process of its own.

    Args:
        loads: one or two models with their data.
        seconds: measuring budget: undisturbed training of all models together, after their first steps and without the profile.
        progress: told how far it is.

    Raises:
        BudgetTooSmallError: not even the fewest blocks fit the budget.
        WorkerDiedError: a worker ended; ``kept`` holds what was measured until then, if that is enough for a ratio.
        EpochwiseError: what a worker could not load.
    """
    say = progress or (lambda done, total, text: None)
    players: list[Worker] = []
    try:
        players.extend(Worker(load) for load in loads)
        for player, load in zip(players, loads, strict=True):
            player.tell(load)
        loaded = []
        for player in players:
            say(0.0, seconds, f"loading {player.name}")
            reply = player.answer()
            loaded.append(expect(Loaded, reply))
            player.backend = loaded[-1].backend
        return measure_players(players, loaded, seconds, progress)
    except BaseException:
        for player in players:
            player.kill()
        raise
    finally:
        for player in players:
            player.close()


def measure_players(
    players: Sequence[Player], loaded: Sequence[Loaded], seconds: float, progress: Progress | None = None
) -> Measured:
    """Measure models that are loaded, wherever they live. See :func:`measure`."""
    schedule = _Schedule([Track(player, what) for player, what in zip(players, loaded, strict=True)], seconds, progress)
    try:
        schedule.run()
    except KeyboardInterrupt:
        if not schedule.enough:
            raise
        schedule.interrupted = True
    except WorkerDiedError as error:
        if schedule.enough:
            schedule.interrupted = True
            error.kept = schedule.measured()
        error.remedy = "\n".join(part for part in (error.remedy, f"kept: {schedule.pairs} blocks of each model") if part)
        raise
    return schedule.measured()


class _Schedule:
    """Who trains when."""

    def __init__(self, tracks: Sequence[Track], seconds: float, progress: Progress | None) -> None:
        self.tracks = tracks
        self.seconds = seconds
        self.interrupted = False
        self._progress = progress or (lambda done, total, text: None)
        self._load_cores: float | None = None
        self._load_names = ""

    @property
    def pairs(self) -> int:
        return min(len(track.blocks) for track in self.tracks)

    @property
    def enough(self) -> bool:
        return self.pairs >= FEWEST_FOR_INTERVAL

    def run(self) -> None:
        for track in self.tracks:
            self._progress(0.0, self.seconds, f"first step of {track.player.name}")
            track.start()
            track.warm_up()
        self._check_budget()
        if len(self.tracks) > 1:  # else nothing pauses
            for track in self.tracks:
                track.look_for_batches_made_ahead()
        self._plan()
        others = OtherLoad(self._own_seconds)
        self._alternate()
        self._finish_epochs()
        self._load_cores = others.processors()
        if self._load_cores > LOAD_WORTH_SAYING_CORES:
            self._load_names = others.names()
        self._profile()
        self._probe()
        self._look_at_doubtful_turns()

    def _own_seconds(self) -> float:
        """Processor time of this process and its workers."""
        workers = sum(track.cpu_seconds for track in self.tracks if track.player.in_other_process)
        return workers + time.process_time()

    def _check_budget(self) -> None:
        step_pair = sum(track.step_seconds for track in self.tracks)
        fewest = FEWEST_FOR_INTERVAL * 2 * step_pair
        if self.seconds < fewest:
            names = " and ".join(track.player.name for track in self.tracks)
            raise BudgetTooSmallError(
                f"{self.seconds:g} seconds are too few: one block of {names} takes {2 * step_pair:.3g} s,"
                f" and {FEWEST_FOR_INTERVAL} of them are the fewest that give an interval.",
                cause="a step of these models takes long, or --seconds is very small",
                remedy=f"--seconds {math.ceil(2 * FEWEST_PAIRS * step_pair)}",
            )

    def _plan(self) -> None:
        """Steps of a block of each model: short blocks, so that the budget holds many pairs, but blocks worth timing."""
        step_pair = sum(track.step_seconds for track in self.tracks)
        shares = [max(LEAST_SHARE, track.step_seconds / step_pair) for track in self.tracks]
        for track, share in zip(self.tracks, shares, strict=True):
            seconds = self.seconds * share / sum(shares)
            track.block_steps = _block_steps(track, seconds / MOST_PAIRS, seconds / FEWEST_PAIRS)

    def _alternate(self) -> None:
        began = time.monotonic()
        names = " and ".join(track.player.name for track in self.tracks)
        while (spent := time.monotonic() - began) < self.seconds or not self.enough:
            self._progress(min(spent, self.seconds), self.seconds, f"training {names} in turn")
            for track in self.tracks:
                track.block(began)

    def _finish_epochs(self) -> None:
        """See that all models have ended the epoch that the slowest is in, if that is not far, so that they can be compared."""
        target = min(len(track.epochs) + (track.next_step > 0) for track in self.tracks)
        behind = [track for track in self.tracks if len(track.epochs) < target]
        if (
            sum((track.steps_per_epoch - track.next_step) * track.step_seconds for track in behind)
            > FINISH_SHARE * self.seconds
        ):
            return
        for track in behind:
            self._progress(self.seconds, self.seconds, f"finishing epoch {target} of {track.player.name}")
            track.turn()

    def _profile(self) -> None:
        for number in range(PROFILE_ROUNDS):
            for track in [track for track in self.tracks if track.profiler_works]:
                self._progress(self.seconds, self.seconds, f"profiling {track.player.name} ({number + 1} of {PROFILE_ROUNDS})")
                steps = max(2, min(MOST_PROFILED_STEPS, round(PROFILE_SECONDS / track.step_seconds), track.steps_per_epoch - 2))
                track.profile(steps)

    def _probe(self) -> None:
        """Try each model with one thing changed at a time."""
        for track in self.tracks:
            track.found = found = track.go(0, 1, inspect=True).found
            for name, condition in conditions_for(track.loaded, found).items():
                self._progress(self.seconds, self.seconds, f"trying {track.player.name}: {name}")
                made = probe(track, name, condition, found, PROBE_SHARE * self.seconds)
                if made is not None:
                    track.probes.append(made)

    def _look_at_doubtful_turns(self) -> None:
        """Train to the end of the epoch once more, or twice, where a long turn was seen and it might be a stall.

        That a turn was seen at all means that an epoch takes not much longer than the budget.
        """
        for track in self.tracks:
            while track.turn_is_doubtful:
                self._progress(self.seconds, self.seconds, f"another turn between epochs of {track.player.name}")
                track.turn()

    def measured(self) -> Measured:
        loaded = [track.loaded for track in self.tracks]
        return Measured(self._measurement(), tuple(what.counts for what in loaded), tuple(what.accelerator for what in loaded))

    def _others(self, track: Track) -> list[list[float]]:
        """Step times of the other models, block by block."""
        return [[block.step_seconds for block in other.blocks] for other in self.tracks if other is not track]

    def _measurement(self) -> Measurement:
        pairs = self.pairs
        ratio = None
        if len(self.tracks) == 2:  # noqa: PLR2004 - a ratio has two sides
            first, second = self.tracks
            values = [track.epoch_values()[:pairs] for track in self.tracks]
            ratio = paired_ratio(values[0], values[1], first.added_turn, second.added_turn)
        notes = [*disturbances(self._load_cores, self._load_names, [track.paces for track in self.tracks])]
        if self.interrupted:
            notes.append(f"Interrupted after {pairs} blocks of each model; what was measured until then is kept.")
        return Measurement(
            models=tuple(record(track, pairs, self._others(track)) for track in self.tracks),
            ratio=ratio,
            pairs=pairs,
            budget_seconds=self.seconds,
            measuring_seconds=sum(block.seconds for track in self.tracks for block in track.blocks),
            other_load_cores=self._load_cores,
            data=self.tracks[0].loaded.data,
            interrupted=self.interrupted,
            notes=tuple(notes),
        )


def _block_steps(track: Track, shortest: float, longest: float) -> int:
    """Steps of a block that takes between so many seconds.

    Whole epochs if one is no longer than ``longest``, since then nothing need be put together; else as fit an epoch without
    remainder.
    """
    epoch = track.steps_per_epoch
    shortest = max(shortest, SHORTEST_BLOCK_SECONDS)
    epoch_seconds = epoch * track.step_seconds
    if epoch_seconds <= max(shortest, longest):
        return max(1, round(shortest / epoch_seconds)) * epoch
    steps = max(shortest / track.step_seconds, min(STEPS_WORTH_TIMING, longest / track.step_seconds))
    if steps >= epoch - 1:
        return epoch
    steps = max(1, round(steps))
    blocks = max(1, round((epoch - 1) / (steps * (1 + LEAD_IN_SHARE))))
    return min(steps, block_that_fits(epoch, blocks))
