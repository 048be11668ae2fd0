"""The gate lets exactly the asked steps run, times them, and leaves evaluation out."""

from __future__ import annotations

import time
from collections import deque

import pytest

from epochwise.measuring.gate import Gate, StopTraining
from epochwise.measuring.messages import Go, Paused, ProfiledSteps, Reply, Request, Start, Stop

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

    def start_profiler(self) -> None:
        if self.fails == "start":
            raise RuntimeError("another profiler is running")
        self.profiling.append("start")

    def stop_profiler(self, steps: int) -> ProfiledSteps:
        if self.fails == "stop":
            raise RuntimeError("nothing was recorded")
        self.profiling.append(f"stop {steps}")
        return ProfiledSteps("bench", 0.5, ())


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
