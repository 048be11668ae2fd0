"""The schedule: A B A B, blocks that fit, epochs put together rightly, and what is kept when something breaks."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from epochwise.counting.counts import Counts, MemoryBytes, Parameters, PerSample
from epochwise.errors import BudgetTooSmallError, WorkerDiedError
from epochwise.machines import load as load_module
from epochwise.measuring import measure as measure_module
from epochwise.measuring import track as track_module
from epochwise.measuring.measure import Measured, measure_players
from epochwise.measuring.measurement import EpochEnd, HostTime, KernelTime
from epochwise.measuring.messages import Condition, Go, Loaded, Paused, ProfiledSteps, Request, Start
from epochwise.measuring.track import Track

BUSY = 0.6
OVERHEAD = 1.25
INPUT_SHARE = 0.2


class Clock:
    """Time that passes only when a simulated model trains."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Simulated:
    """A player whose steps and turns take exactly so long; dies or is interrupted at a given request."""

    def __init__(self, clock: Clock, name: str, step: float, steps_per_epoch: int, turn: float = 0.0) -> None:
        self.clock, self.name, self.step, self.steps_per_epoch, self.turn = clock, name, step, steps_per_epoch, turn
        self.next_step, self.epoch = 0, 1
        self.stalls: dict[int, float] = {}
        self.requests: list[Request] = []
        self.raises_at: dict[int, BaseException] = {}
        self.conditions: list[Condition] = []
        self.profiler = True
        self.in_other_process = True
        self.making, self.room, self.stock, self.left_at = 0.0, 0, 0.0, 0.0
        self.trained = 0.0

    def loaded(self) -> Loaded:
        counts = Counts(
            name=self.name,
            backend="jax",
            batch_size=32,
            parameters=Parameters(1, 0),
            per_sample=PerSample(1, 1, 2, 2, 1),
            layers=(),
            memory_bytes=MemoryBytes(0, 0, 0, 0, 0),
        )
        return Loaded(self.name, "jax", counts, 32 * self.steps_per_epoch, 32, self.steps_per_epoch, "data", {}, {}, "cpu")

    def ask(self, request: Request) -> Paused:
        if (error := self.raises_at.get(len(self.requests))) is not None:
            raise error
        self.requests.append(request)
        if isinstance(request, Start):
            self.next_step, self.epoch = 0, 1
        go = Go(0, 1) if isinstance(request, Start) else request
        assert isinstance(go, Go)
        ended: list[EpochEnd] = []
        seconds = 0.0
        if self.making:
            self.stock = min(self.room, self.stock + (self.clock.now - self.left_at) / self.making)
        number, lead_in = 0, go.lead_in
        while number < lead_in + go.steps:
            taken = self._wait() + self.step * (OVERHEAD if go.profile else 1.0)
            if number == lead_in - 1 and taken < go.until and lead_in < go.longest:
                lead_in += 1
            self.next_step += 1
            if self.next_step == self.steps_per_epoch:
                taken += self.turn + self.stalls.get(self.epoch, 0.0)
                ended.append(EpochEnd(self.epoch, self.trained + taken, {"loss": 1.0}, {"accuracy": 0.5}))
                self.next_step, self.epoch = 0, self.epoch + 1
            self.clock.now += taken
            self.trained += taken
            seconds += taken if number >= lead_in else 0.0
            number += 1
        self.left_at = self.clock.now
        profiled = None
        if go.profile and self.profiler:
            busy = BUSY * self.step * OVERHEAD
            profiled = ProfiledSteps("simulated", (KernelTime("k", "dense", "forward", busy, 1.0),))
        host = (HostTime("input pipeline", False, INPUT_SHARE * seconds),)
        failure = "" if self.profiler or not go.profile else "RuntimeError: busy"
        return Paused(
            seconds, go.steps, self.epoch, self.next_step, tuple(ended), 1, 0.0, profiled, failure, host, lead_in=lead_in
        )

    def _wait(self) -> float:
        """Of a step for its batch, where batches are made one by one, in pauses too; ``making`` seconds for each."""
        if not self.making:
            return 0.0
        self.stock += self.step / self.making  # what is made while the step before computes
        waited = max(0.0, (1 - self.stock) * self.making)
        self.stock = min(self.room, max(0.0, self.stock - 1))
        return waited

    def tell(self, condition: Condition) -> None:
        self.conditions.append(condition)

    def close(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    simulated = Clock()
    for module in (measure_module, track_module, load_module):
        monkeypatch.setattr(module, "time", simulated)
    return simulated


def run(*players: Simulated, seconds: float = 60.0) -> Measured:
    return measure_players(players, [player.loaded() for player in players], seconds)  # type: ignore[arg-type]


def test_an_epoch_of_steps_and_a_turn(clock: Clock) -> None:
    """Long epochs are put together from steps and one turn, exactly, and said to be."""
    one, two = Simulated(clock, "mlp", 0.001, 1875, turn=0.05), Simulated(clock, "cnn", 0.003, 1875, turn=0.2)
    measurement = run(one, two).measurement
    first, second = measurement.models
    assert first.epoch_seconds.median == pytest.approx(1875 * 0.001 + 0.05)
    assert second.epoch_seconds.median == pytest.approx(1875 * 0.003 + 0.2)
    assert measurement.ratio is not None
    assert measurement.ratio.median == second.epoch_seconds.median / first.epoch_seconds.median
    assert not first.whole_epochs
    assert any("put together from blocks" in note for note in first.notes)


@pytest.mark.parametrize("room", [2, 30, 10_000])
@pytest.mark.parametrize("steps_per_epoch", [100, 1875])
def test_batches_made_in_a_pause_make_no_step_look_quick(clock: Clock, room: int, steps_per_epoch: int) -> None:
    """Both models wait 25 ms for each batch; while one trains, the input of the other goes on, and stores so many batches."""
    one, two = Simulated(clock, "small", 0.001, steps_per_epoch), Simulated(clock, "large", 0.004, steps_per_epoch)
    for player in (one, two):
        player.making, player.room = 0.025, room
    measurement = run(one, two, seconds=120.0).measurement
    for model in measurement.models:
        assert model.epoch_seconds.median == pytest.approx(steps_per_epoch * 0.025, rel=0.02)
        assert model.first_epoch_seconds >= 0.98 * steps_per_epoch * 0.025
    assert measurement.ratio is not None
    assert measurement.ratio.median == pytest.approx(1.0, abs=0.02)


def test_a_long_lead_in_lets_no_stretch_cross_the_end_of_an_epoch(clock: Clock) -> None:
    """Where a stretch fits but a stretch with the longest lead-in seen would not, in any place, it still begins a new epoch."""
    player = Simulated(clock, "mlp", 0.001, 100)
    track = Track(player, player.loaded())  # type: ignore[arg-type]
    track.start()
    track.go(0, 89)
    track.longest_lead_in = 80
    track.make_room(35)
    assert (player.epoch, track.next_step) == (2, 0)


def test_turns_that_stall_are_said_and_left_out(clock: Clock) -> None:
    """Even where half of the few turns stall, the epoch holds a usual turn, and the record keeps them all."""
    one, two = Simulated(clock, "mlp", 0.002, 1875, turn=0.05), Simulated(clock, "cnn", 0.003, 1875, turn=0.05)
    two.stalls = dict.fromkeys(range(1, 20, 2), 4.0)
    first, second = run(one, two).measurement.models
    assert second.epoch_seconds.median == pytest.approx(1875 * 0.003 + 0.05)
    assert max(second.turns) == pytest.approx(4.05)
    assert any("turns between epochs of cnn stalled (4 s at most, where 0.05 s is usual)" in note for note in second.notes)
    assert not any("stalled" in note for note in first.notes)


@pytest.mark.parametrize(("turn", "stall", "seen"), [(0.02, 6.5, 2), (6.5, 0.0, 3), (0.02, 0.0, 1)])
def test_one_long_turn_is_not_believed(clock: Clock, turn: float, stall: float, seen: int) -> None:
    """Where all hangs on one long turn, another is looked at; one that takes as long every time stays."""
    player = Simulated(clock, "cnn", 0.12, 100, turn=turn)
    player.stalls = {1: stall}
    (model,) = run(player, seconds=12.0).measurement.models
    assert len(model.turns) == seen
    assert model.epoch_seconds.median == pytest.approx(100 * 0.12 + turn)


@pytest.mark.parametrize(
    ("step", "steps_per_epoch", "seconds", "pairs", "steps"),
    [
        pytest.param(0.001, 1875, 60.0, (150, 300), (90, 110), id="short steps: many blocks"),
        pytest.param(0.1, 1875, 200.0, (40, 70), (14, 17), id="long steps: enough of them in a block"),
        pytest.param(1.0, 1875, 200.0, (40, 110), (1, 3), id="very long steps: enough blocks"),
        pytest.param(0.01, 50, 60.0, (40, 60), (50, 50), id="short epochs: whole ones"),
    ],
)
def test_blocks_are_short_but_worth_timing(
    clock: Clock, step: float, steps_per_epoch: int, seconds: float, pairs: tuple[int, int], steps: tuple[int, int]
) -> None:
    """Up to 300 blocks of 0.05 s and 16 steps or more, at least 40 where that is possible."""
    players = [Simulated(clock, name, step, steps_per_epoch) for name in ("mlp", "cnn")]
    measurement = run(*players, seconds=seconds).measurement
    assert pairs[0] <= measurement.pairs <= pairs[1]
    assert all(steps[0] <= block.steps <= steps[1] for model in measurement.models for block in model.blocks)


def test_short_epochs_are_measured_whole(clock: Clock) -> None:
    """Where an epoch is shorter than a block, blocks are whole epochs, with their turns, and nothing is added."""
    one, two = Simulated(clock, "mlp", 0.001, 7, turn=0.03), Simulated(clock, "cnn", 0.002, 7, turn=0.01)
    first, second = run(one, two, seconds=5.0).measurement.models
    assert first.whole_epochs
    assert first.blocks[0].steps % 7 == 0
    assert first.epoch_seconds.median == pytest.approx(7 * 0.001 + 0.03)
    assert second.epoch_seconds.median == pytest.approx(7 * 0.002 + 0.01)


def test_models_train_in_turn(clock: Clock) -> None:
    """Both have the same number of blocks, and between two of one there is one of the other."""
    one, two = Simulated(clock, "mlp", 0.001, 1875), Simulated(clock, "cnn", 0.004, 1875)
    measurement = run(one, two).measurement
    starts = [[block.started_at for block in model.blocks] for model in measurement.models]
    assert len(starts[0]) == len(starts[1]) == measurement.pairs >= 20
    assert all(a < b for a, b in zip(*starts, strict=True))
    assert all(b < a for b, a in zip(starts[1], itertools.islice(starts[0], 1, None), strict=False))


def test_the_budget_is_kept(clock: Clock) -> None:
    """Undisturbed training takes what was asked for, and little more than one pair of blocks beyond."""
    measurement = run(Simulated(clock, "mlp", 0.001, 1875), Simulated(clock, "cnn", 0.01, 1875), seconds=30.0).measurement
    assert 20 < measurement.measuring_seconds < 35


def test_both_models_end_the_epoch_that_the_slower_is_in(clock: Clock) -> None:
    """Test accuracy can be compared after the same number of epochs: no epoch of the slower is left half done."""
    slow = Simulated(clock, "cnn", 0.004, 1875)
    measurement = run(Simulated(clock, "mlp", 0.0003, 1875), slow).measurement
    first, second = (len(model.epochs) for model in measurement.models)
    assert first >= second >= 5
    trained = sum(block.steps for block in measurement.models[1].blocks)
    assert 1875 * (second - 1) < 1.2 * trained


def test_epochs_of_what_is_only_tried_are_not_those_of_the_training(clock: Clock) -> None:
    """A loop that begins anew, to try another batch size, counts its epochs from 1 again; the record has each epoch once."""
    one, two = Simulated(clock, "mlp", 0.0003, 1875), Simulated(clock, "cnn", 0.004, 1875)
    players = (one, two)
    loaded = [msgspec.structs.replace(player.loaded(), can_change_batch=True) for player in players]
    models = measure_players(players, loaded, 60.0).measurement.models  # type: ignore[arg-type]
    assert all(player.conditions[-1] == Condition() for player in players)
    assert all(model.probes for model in models)
    for model in models:
        assert [end.epoch for end in model.epochs] == list(range(1, len(model.epochs) + 1))


def test_what_would_take_long_to_try_is_left_out_and_said(clock: Clock) -> None:
    """A step of a second with 8 samples takes four with 32: too long for a minute, not for what the note names.

    With room for some larger batch, the largest that there is room for is tried.
    """
    slow = Simulated(clock, "slow", 1.0, 1875)
    loaded = msgspec.structs.replace(slow.loaded(), can_change_batch=True, batch_size=8, samples=15_000)
    (model,) = measure_players([slow], [loaded], 60.0).measurement.models  # type: ignore[list-item]
    assert model.probes == ()
    (note,) = (note for note in model.notes if "larger batch" in note)
    assert "would take about 56 s" in note
    enough = float(note.partition("--seconds ")[2].split()[0])
    for seconds, batch_size in ((enough, 32), (2 * enough, 64), (20 * enough, 256)):
        slow = Simulated(clock, "slow", 1.0, 1875)
        (model,) = measure_players([slow], [loaded], seconds).measurement.models  # type: ignore[list-item]
        assert [(probe.name, probe.batch_size) for probe in model.probes] == [("larger batch", batch_size)]


def test_the_faster_model_gets_a_third_of_the_time(clock: Clock) -> None:
    """Short steps are the noisier ones, so that they are measured for longer than their share of the work."""
    measurement = run(Simulated(clock, "mlp", 0.0003, 1875), Simulated(clock, "cnn", 0.004, 1875)).measurement
    first, second = (sum(block.seconds for block in model.blocks) for model in measurement.models)
    assert 0.25 < first / (first + second) < 0.4


def test_a_budget_too_small_is_refused_with_one_that_works(clock: Clock) -> None:
    """The message names what a block takes, and the seconds in it are enough."""
    with pytest.raises(BudgetTooSmallError, match="one block of slow and cnn takes") as refused:
        run(Simulated(clock, "slow", 2.0, 100), Simulated(clock, "cnn", 0.01, 100), seconds=5.0)
    enough = float(refused.value.remedy.removeprefix("--seconds "))
    run(Simulated(clock, "slow", 2.0, 100), Simulated(clock, "cnn", 0.01, 100), seconds=enough)


def test_the_profile_is_taken_against_blocks_beside_it(clock: Clock) -> None:
    """The profiler's cost is measured, shown as overhead, and enters no epoch time."""
    model = run(Simulated(clock, "mlp", 0.001, 1875), Simulated(clock, "cnn", 0.003, 1875)).measurement.models[0]
    assert model.profile is not None
    assert model.profile.overhead == pytest.approx(OVERHEAD - 1.0)
    assert model.profile.busy_share == pytest.approx(BUSY)
    assert model.epoch_seconds.high == pytest.approx(1.875)


def test_without_a_profiler_times_remain(clock: Clock) -> None:
    """A profiler that fails leaves busy time unknown, with a note, and everything else as it is."""
    one, two = Simulated(clock, "mlp", 0.001, 1875), Simulated(clock, "cnn", 0.003, 1875)
    one.profiler = False
    first, second = run(one, two).measurement.models
    assert first.profile is None
    assert sum("profiler could not be used" in note for note in first.notes) == 1
    assert second.profile is not None


def test_ctrl_c_keeps_what_was_measured(clock: Clock) -> None:
    """Interrupted after some blocks, the measurement is given with those, and says so."""
    one, two = Simulated(clock, "mlp", 0.001, 1875), Simulated(clock, "cnn", 0.003, 1875)
    two.raises_at[40] = KeyboardInterrupt()
    measurement = run(one, two).measurement
    assert measurement.interrupted
    assert measurement.pairs >= 3
    assert any("Interrupted" in note for note in measurement.notes)


def test_ctrl_c_before_anything_was_measured_is_passed_on(clock: Clock) -> None:
    """Without blocks there is nothing to keep."""
    one, two = Simulated(clock, "mlp", 0.001, 1875), Simulated(clock, "cnn", 0.003, 1875)
    two.raises_at[0] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(one, two)


def test_a_worker_that_dies_leaves_what_was_measured(clock: Clock) -> None:
    """The error says how many blocks were kept, and holds them."""
    one, two = Simulated(clock, "mlp", 0.001, 1875), Simulated(clock, "cnn", 0.003, 1875)
    two.raises_at[40] = WorkerDiedError("The worker that measured 'cnn' on jax was ended by signal 9 (SIGKILL).")
    with pytest.raises(WorkerDiedError, match=r"kept: [0-9]+ blocks of each model") as died:
        run(one, two)
    assert isinstance(died.value.kept, Measured)
    assert died.value.kept.measurement.ratio.median == pytest.approx(3.0, rel=0.01)


def test_training_that_diverges_is_said_and_timed(clock: Clock) -> None:
    """A loss that is no number is left out of the record, with a note; times are kept."""
    player = Simulated(clock, "mlp", 0.001, 1875)
    track = Track(player, player.loaded())  # type: ignore[arg-type]
    ended = EpochEnd(1, 2.0, {"loss": float("nan"), "accuracy": 0.1}, {"loss": float("inf")})
    assert track._finite(ended) == EpochEnd(1, 2.0, {"accuracy": 0.1}, {})
    assert "diverged: loss is not a number after epoch 1" in track.notes[0]
