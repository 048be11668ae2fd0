"""Measures a loop that is not ours while it runs: blocks all the time, and after a while a few steps with the profiler.

The loop's thread goes through the same gate as in a measurement of our own. What it is told to do next comes from a thread
beside it, which waits while the loop runs. The loop is held only where it waits for the device at the ends of blocks.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from epochwise.errors import EpochwiseError, WorkerDiedError
from epochwise.machines.load import OtherLoad
from epochwise.measuring.disturbances import disturbances
from epochwise.measuring.gate import Gate, Runtime
from epochwise.measuring.measure import PROFILE_ROUNDS
from epochwise.measuring.measurement import Measurement
from epochwise.measuring.messages import Go, Load, Loaded, Paused, Reply, Request, Start
from epochwise.measuring.players import Player
from epochwise.measuring.track import Track, block_that_fits, record
from epochwise.measuring.worker import ConnectionChannel
from epochwise.subjects.datasets import DataSpec

BLOCK_SECONDS = 0.2
"""Of a block. The loop is held between blocks, which costs it about a millisecond, and more where a device lags behind."""
SURE_SECONDS = 0.02
"""Of steps from which it is taken how long a step takes, before the first block."""
FIRST_BLOCKS = 5
"""Blocks before the profile; of one epoch each, where epochs are short."""
PROFILED_SECONDS = 0.3
FEWEST_PROFILED, MOST_PROFILED = 4, 40
HELD_SHARE = 1 / 400
"""Of the time, for which the loop may be held: after the first blocks it is left alone until it was not held for longer."""
REST_SHARE = 1 / 200
"""Of the time so far, that passes from one block to the next at least: long trainings are held ever less often."""
LOOK_INTO_AT = 16
"""Blocks after which the model is looked into for denormal weights; again after twice as many, and so on."""
FOR_EVER = 1_000_000_000
GRACE_SECONDS = 10.0
LOOK_SECONDS = 0.25
"""How often it is looked whether the loop is still there."""


class _Loop(Player):
    """The loop as the thread beside it sees it."""

    in_other_process = False

    def __init__(self, load: Load, connection: Connection, running: Callable[[], bool]) -> None:
        super().__init__(load, connection)
        self._running = running

    def answer(self) -> Loaded | Paused:
        """Wait for the loop to come back, as long as it is there."""
        try:
            while not self._connection.poll(LOOK_SECONDS):
                if not self._running():
                    raise self._ended()
        except OSError:
            raise self._ended() from None
        return super().answer()

    def close(self) -> None:
        """Nothing to end: the loop is the user's."""

    def _ended(self) -> WorkerDiedError:
        return WorkerDiedError("The training loop is over.")


class _Channel(ConnectionChannel):
    """The loop's side. When nobody tells it what to do, it goes on for ever: it must never stop the user's training."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._begun = False

    def receive(self) -> Request:
        """The next request."""
        begun, self._begun = self._begun, True
        try:
            return super().receive()
        except Exception:
            return Go(0, FOR_EVER) if begun else Start()

    def send(self, reply: Reply) -> None:
        """Answer, if anybody listens."""
        try:
            super().send(reply)
        except Exception:
            return


class Observer:
    """Looks at one loop.

    Args:
        loaded: what is known of the model.
        runtime: the framework.
        profile: whether some steps are profiled.
        turns_are_told: whether the clock is told where the loop is between two epochs; asked after the first step.
        running: whether the loop is still there; one that is left by an exception tells nobody.
        left: called from the thread beside the loop when it finds that the loop was left.
    """

    def __init__(
        self,
        loaded: Loaded,
        runtime: Runtime,
        *,
        profile: bool = True,
        turns_are_told: Callable[[], bool] = lambda: True,
        running: Callable[[], bool] = lambda: True,
        left: Callable[[], None] = lambda: None,
    ) -> None:
        ours, theirs = Pipe()
        self._theirs = theirs
        self._others = OtherLoad()
        self._profile = profile
        self._turns_are_told = turns_are_told
        self._began = time.monotonic()
        self._running, self._left = running, left
        self._ended = threading.Event()
        self.track = Track(_Loop(_load(loaded), ours, running), loaded)
        self.gate = Gate(_Channel(theirs), runtime, None)
        self._ours: Connection = ours
        self._thread = threading.Thread(target=self._drive, name="epochwise", daemon=True)
        self._thread.start()

    def _drive(self) -> None:
        try:
            self.track.start()
            self._drive_on()
        except (EpochwiseError, OSError):  # the loop is over
            pass
        finally:
            self._ours.close()
        while not self._ended.wait(LOOK_SECONDS):
            if not self._running():
                self._left()
                return

    def _drive_on(self) -> None:
        track = self.track
        longest = block_that_fits(track.steps_per_epoch)
        self._warm_up()
        short = track.steps_per_epoch * track.step_seconds < BLOCK_SECONDS
        whole_epochs = short and self._turns_are_told()  # otherwise a turn is what an epoch's last step takes beyond others
        blocks = rest = 0
        while True:
            steps = max(1, round(BLOCK_SECONDS / track.step_seconds))
            rest_epochs = rest / track.steps_per_epoch
            if whole_epochs:  # they begin with an epoch, where the loop may wait for its device itself
                epochs = 1 if blocks < FIRST_BLOCKS else max(1, round(steps / track.steps_per_epoch))
                track.block_steps = epochs * track.steps_per_epoch
                lead_in = -track.next_step % track.steps_per_epoch + math.ceil(rest_epochs) * track.steps_per_epoch
            else:
                track.block_steps = min(steps, longest)
                if track.left_in_epoch < track.block_steps:
                    track.turn(after=round(rest_epochs))
                lead_in = max(0, min(rest, track.left_in_epoch - track.block_steps))
            blocks += 1
            track.block(self._began, lead_in=lead_in, inspect=blocks >= LOOK_INTO_AT and blocks & (blocks - 1) == 0)
            if blocks < FIRST_BLOCKS:
                continue
            if self._profile and track.profiler_works and not track.profiles:
                steps = round(PROFILED_SECONDS / track.step_seconds)
                for _ in range(PROFILE_ROUNDS):
                    if track.profiler_works:
                        track.profile(max(FEWEST_PROFILED, min(MOST_PROFILED, steps, longest)))
            held = statistics.median(track.held[-FIRST_BLOCKS:])
            to_rest = max(held / HELD_SHARE, REST_SHARE * (time.monotonic() - self._began))
            rest = max(0, round(to_rest / track.step_seconds) - track.block_steps)

    def _warm_up(self) -> None:
        """See about how long a step takes."""
        track, steps = self.track, 1
        track.step_seconds = seconds = track.go(0, steps).seconds
        while seconds < SURE_SECONDS and track.left_in_epoch >= (steps := 4 * steps):
            seconds = track.go(0, steps).seconds
            track.step_seconds = min(track.step_seconds, seconds / steps)

    def end(self) -> None:
        """The loop is over."""
        self._ended.set()
        self._theirs.close()
        self._thread.join(GRACE_SECONDS)

    def measurement(self) -> Measurement | None:
        """What was seen, when the loop is over; ``None`` where that is too little."""
        track = self.track
        if not track.blocks:
            return None
        others = self._others.processors()
        return Measurement(
            models=(record(track, len(track.blocks)),),
            ratio=None,
            pairs=len(track.blocks),
            budget_seconds=time.monotonic() - self._began,
            measuring_seconds=sum(block.seconds for block in track.blocks),
            other_load_cores=others,
            data=track.loaded.data,
            notes=disturbances(others, self._others.names(), [track.paces]),
        )


def _load(loaded: Loaded) -> Load:
    return Load(
        model=loaded.name, data=DataSpec(), backend=loaded.backend, batch_size=loaded.batch_size, seed=0, name=loaded.name
    )
