"""The gate lets exactly the asked steps run, times them, and leaves evaluation out."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator

import pytest

from epochwise.errors import DataError
from epochwise.measuring.clock import TURN, HostClock
from epochwise.measuring.gate import ChangeCondition, Gate, StopTraining
from epochwise.measuring.messages import Condition, Go, Paused, ProfiledSteps, Reply, Request, Start, Stop

STEPS = 7
EVALUATION = 0.05


class Script:
    """A channel that plays a list of requests and keeps the answers; notes the step at which each was asked for."""

    def __init__(self, *requests: Request) -> None:
        self.requests = deque(requests)
        self.replies: list[Paused] = []

    def receive(self) -> Request:
        return self.requests.popleft() if self.requests else Stop()

    def send(self, reply: Reply) -> None:
        assert isinstance(reply, Paused)
        self.replies.append(reply)


class Bench:
    """A runtime that counts; its profiler can be made to fail."""

    def __init__(self, fails: str = "") -> None:
        self.profiling: list[str] = []
        self.fails = fails

    def synchronize(self) -> None:
        pass

    def annotate(self, name: str) -> contextlib.AbstractContextManager[object]:
        self.profiling.append(name)
        return contextlib.nullcontext()

    def inspect(self) -> dict[str, float]:
        return {"threads": 2.0}

    def start_profiler(self) -> None:
        if self.fails == "start":
            raise RuntimeError("another profiler is running")
        self.profiling.append("start")

    def stop_profiler(self, steps: int) -> ProfiledSteps:
        if self.fails == "stop":
            raise RuntimeError("nothing was recorded")
        self.profiling.append(f"stop {steps}")
        return ProfiledSteps("bench", ())


def train(gate: Gate, step_seconds: float = 0.0) -> int:
    """A loop of epochs of 7 steps; how many steps ran until it was stopped."""
    ran = 0
    gate.begin()
    try:
        while True:
            for step in range(STEPS):
                gate.before_step(step)
                time.sleep(step_seconds)
                ran += 1
            gate.steps_ended()
            gate.epoch_ended({"loss": 1.0})
    except StopTraining:
        return ran


@pytest.mark.parametrize(("lead_in", "steps"), [(0, 1), (0, 5), (3, 1), (2, 4), (1, 20), (13, 8)])
def test_exactly_the_asked_steps_run(lead_in: int, steps: int) -> None:
    """One step for the start, then those of the lead-in and the timed ones, across epochs; not one more."""
    channel = Script(Start(), Go(lead_in, steps))
    assert train(Gate(channel, Bench(), None)) == 1 + lead_in + steps
    _, paused = channel.replies
    done = 1 + lead_in + steps
    # An epoch's end is seen when the loop comes to the first step of the next.
    assert (paused.steps, paused.epoch, paused.next_step) == (steps, 1 + done // STEPS, done % STEPS)


def test_only_the_timed_steps_are_timed() -> None:
    """A lead-in that takes long does not show in the time of the block."""
    channel = Script(Start(), Go(lead_in=5, steps=2))
    train(Gate(channel, Bench(), None), step_seconds=0.01)
    assert 0.02 <= channel.replies[1].seconds < 0.05


def test_a_lead_in_goes_on_until_a_step_waits() -> None:
    """Steps whose batches were made in a pause are quick; the first one that had to wait ends the lead-in, or its length."""
    channel = Script(Start(), Go(lead_in=1, steps=2, until=0.01, longest=20), Go(lead_in=1, steps=1, until=10.0, longest=4))
    gate, ran = Gate(channel, Bench(), None), 0
    gate.begin()
    with contextlib.suppress(StopTraining):
        while True:
            gate.before_step(ran % STEPS)
            time.sleep(0.02 if ran > STEPS else 0.0)
            ran += 1
    _, drained, longest = channel.replies
    assert drained.lead_in == STEPS + 1
    assert drained.seconds >= 2 * 0.02
    assert longest.lead_in == 4


def test_evaluation_is_left_out_and_epochs_are_reported() -> None:
    """The block that spans the end of an epoch holds no evaluation time, and the epoch's result arrives with it."""

    def evaluate() -> dict[str, float]:
        time.sleep(EVALUATION)
        return {"accuracy": 0.5}

    channel = Script(Start(), Go(0, STEPS))
    train(Gate(channel, Bench(), evaluate))
    (ended,) = channel.replies[1].ended
    assert channel.replies[1].seconds < EVALUATION
    assert (ended.epoch, ended.train, ended.test) == (1, {"loss": 1.0}, {"accuracy": 0.5})
    assert ended.training_seconds < EVALUATION


def test_training_seconds_leave_pauses_out() -> None:
    """Time that a model waits for its turn does not count as training."""

    class Slow(Script):
        def receive(self) -> Request:
            time.sleep(0.03)
            return super().receive()

    channel = Slow(Start(), Go(0, 2), Go(0, 2), Go(0, STEPS))
    train(Gate(channel, Bench(), None))
    assert channel.replies[-1].ended[0].training_seconds < 0.03


def test_the_profiler_runs_for_the_timed_steps_only() -> None:
    """Started after the lead-in, stopped after the last timed step, and its result is handed over."""
    bench = Bench()
    channel = Script(Start(), Go(2, 3, profile=True), Go(0, 1))
    train(Gate(channel, bench, None))
    assert bench.profiling == ["start", "stop 3"]
    assert [reply.profiled is not None for reply in channel.replies] == [False, True, False]


@pytest.mark.parametrize("fails", ["start", "stop"])
def test_a_broken_profiler_is_said_and_training_goes_on(fails: str) -> None:
    """Whatever a profiler raises, the steps are trained and timed, and the reason is reported."""
    channel = Script(Start(), Go(0, 3, profile=True), Go(0, 2))
    assert train(Gate(channel, Bench(fails), None)) == 6
    assert channel.replies[1].profiled is None
    assert "RuntimeError" in channel.replies[1].profiler_failure


def test_the_host_is_told_apart_in_the_timed_steps() -> None:
    """Waiting for batches counts for exactly the timed steps, and what follows the last step is the turn."""

    def loop(gate: Gate) -> None:
        gate.begin()
        with contextlib.suppress(StopTraining):
            while True:
                for step in range(STEPS):
                    with gate.clock.stay("input pipeline"):
                        time.sleep(0.004)
                    gate.before_step(step)
                gate.steps_ended()
                with gate.clock.stay("validation"):
                    time.sleep(0.02)
                gate.epoch_ended({})

    channel = Script(Start(), Go(0, 2), Go(0, STEPS))
    loop(Gate(channel, Bench(), None))
    within, across = ({(time_.place, time_.in_turn): time_.seconds for time_ in reply.host} for reply in channel.replies[1:])
    assert set(within) == {("input pipeline", False)}
    assert 0.008 <= within["input pipeline", False] <= channel.replies[1].seconds
    assert across["validation", True] >= 0.02
    assert across["turn between epochs", True] < 0.02
    assert sum(across.values()) <= channel.replies[2].seconds


def test_what_is_inside_a_callback_is_the_callbacks() -> None:
    """A callback that evaluates the model is not told apart further, and does not end an epoch."""
    gate = Gate(Script(), Bench(), None)
    gate.clock.start()
    with gate.clock.stay("callback Mine"):
        gate.steps_ended()
        with gate.clock.stay("validation"):
            time.sleep(0.005)
    (found,) = gate.clock.read()
    assert (found.place, found.in_turn) == ("callback Mine", False)
    assert found.seconds >= 0.005


def test_a_condition_leaves_the_loop() -> None:
    """The loop is left with the condition, so that it can begin anew under it."""
    channel = Script(Start(), Condition(threads=1))
    gate = Gate(channel, Bench(), None)
    gate.begin()
    gate.before_step(0)
    with pytest.raises(ChangeCondition) as left:
        gate.before_step(1)
    assert left.value.condition.threads == 1


def test_a_stream_that_is_at_its_end_is_refused() -> None:
    """An epoch without any step would be followed by another one for ever."""
    gate = Gate(Script(Start()), Bench(), None)
    gate.begin()
    gate.before_step(0)
    gate.epoch_ended({})
    with pytest.raises(DataError, match="at its end after 1 epochs"):
        gate.epoch_ended({})


def test_a_look_into_the_model_is_given_when_asked_for() -> None:
    """Only then, since it may take a while."""
    channel = Script(Start(), Go(0, 1), Go(0, 1, inspect=True))
    train(Gate(channel, Bench(), None))
    assert [reply.found for reply in channel.replies] == [{}, {}, {"threads": 2.0}]


def test_fetching_a_batch_is_a_stay_in_the_input_pipeline() -> None:
    """In the midst of an epoch, in a turn and in a callback; what is told inside it is not counted twice."""
    gate = Gate(Script(), Bench(), None)
    clock = gate.clock

    def batches() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.004)
            with clock.stay("validation"):
                time.sleep(0.004)
            yield number

    clock.start()
    stream = clock.batches(batches())
    assert next(stream) == 0
    gate.steps_ended()
    assert next(stream) == 1
    clock.end_turn()
    with clock.stay("callback Mine"):
        assert next(stream) == 2
    assert next(stream, "none") == "none"
    found = {(time_.place, time_.in_turn): time_.seconds for time_ in clock.read()}
    assert set(found) == {("input pipeline", False), ("input pipeline", True), ("callback Mine", False), (TURN, True)}
    for place in [("input pipeline", False), ("input pipeline", True), ("callback Mine", False)]:
        assert 0.008 <= found[place] < 0.016
    assert found[TURN, True] < 0.004
    assert clock.in_step


def test_batches_are_not_timed_while_nothing_is_measured() -> None:
    """In steps that lead up to a stretch; all batches come through, whole."""
    gate = Gate(Script(Start(), Go(0, 1), Go(3, 2), Go(0, 100)), Bench(), None)
    clock = gate.clock
    paused = []
    gate.begin()
    for number, batch in enumerate(clock.batches(range(10))):
        assert batch == number
        gate.before_step(number)
        paused.append(clock.paused)
    assert paused == [False, False, True, True, True, False, False, False, False, False]


def test_a_loader_that_fails_says_so_itself() -> None:
    """Whether its batches are timed or not, and without anything left open."""
    for paused in (False, True):
        clock = HostClock()
        clock.paused = paused
        with pytest.raises(ZeroDivisionError):
            list(clock.batches(1 // number for number in (1, 0)))
        assert clock.in_step
