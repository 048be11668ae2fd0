"""A line per step in the user's own loop: its times, its waits, and what could not be seen."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import time

import pytest

import epochwise
from epochwise.errors import UsageError
from epochwise.measuring.track import block_that_fits
from epochwise.observing import observer
from epochwise.observing.observer import FIRST_BLOCKS
from epochwise.observing.watching import Watch

torch = pytest.importorskip("torch")
from epochwise.measuring.torch import TorchRuntime  # noqa: E402 - only where there is PyTorch

pytestmark = pytest.mark.torch


def loop(watched: Watch, model: torch.nn.Module, steps: int, wait: float) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def loader() -> object:
        for _ in range(steps):
            time.sleep(wait)
            yield torch.rand(8, 16)

    for features in watched.batches(loader()):
        optimizer.zero_grad()
        model(features).square().mean().backward()
        optimizer.step()
        watched.step()


def test_a_loop_that_waits_for_its_batches_is_told() -> None:
    """The wait is timed around the batches, the layers are found in the profile, and the parts are the whole."""
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    x = torch.rand(8, 16)
    with epochwise.watch(model, x=x, y=torch.rand(8, 1), steps_per_epoch=150, verbose=False) as watched:
        for _ in range(3):
            loop(watched, model, 150, 0.01)
    result = watched.explanation
    first = result.model.causes[0]
    assert first.name == "input pipeline"
    assert first.seconds >= 150 * 0.01
    assert math.isclose(math.fsum(part.seconds for part in result.model.where), result.model.epoch_seconds.median)
    assert result.model.counts.parameters.total == 16 * 32 + 32 + 33
    assert {"0", "2"} <= {part.name for part in result.model.where if part.phase}
    assert result.model.measurement.steps_per_epoch == 150


def test_what_could_not_be_seen_is_said() -> None:
    """Without the model neither its work nor its layers are known, and notes say so; the times are there."""
    model = torch.nn.Linear(16, 1)
    with epochwise.watch(name="mine", profile=False, verbose=False) as watched:
        loop(watched, model, 200, 0.005)
    result = watched.explanation
    assert result.model.epoch_seconds.median >= 200 * 0.005
    notes = [*result.notes, *result.model.measurement.notes]
    assert any("layers are not told apart" in note for note in notes)
    assert any("not counted" in note for note in notes)
    assert not any("w.batches" in note for note in notes)
    with epochwise.watch(model, profile=False, verbose=False) as watched:
        for _ in range(100):
            model(torch.rand(8, 16)).mean().backward()
            time.sleep(0.005)
            watched.step()
    assert any("w.batches(loader)" in note for note in watched.explanation.model.measurement.notes)


def test_a_loop_without_the_step_line_is_told() -> None:
    """Training goes on as ever; asking for an explanation says what is missing, and the line that works."""
    with epochwise.watch(verbose=False) as watched:
        pass
    with pytest.raises(UsageError, match=r"never called w\.step\(\)") as refused:
        watched.explanation  # noqa: B018 - looking it up is the point
    assert "w.step()" in refused.value.remedy


WITHOUT_KERAS = """
import sys, torch, epochwise
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
features, labels = torch.rand(8, 16), torch.rand(8, 1)
with epochwise.watch(model, x=features, y=labels, steps_per_epoch=50, verbose=False) as watched:
    for _ in range(500):
        torch.nn.functional.mse_loss(model(features), labels).backward()
        watched.step()
assert watched.explanation.model.counts.parameters.total == 16 * 32 + 32 + 33
print(sorted({"keras", "tensorflow", "jax"} & set(sys.modules)))
"""


def test_a_program_without_keras_stays_one() -> None:
    """A loop of PyTorch is watched, profiled and counted without the seconds that it takes to import Keras and a backend."""
    run = subprocess.run([sys.executable, "-c", WITHOUT_KERAS], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_short_epochs_are_left_alone_most_of_the_time() -> None:
    """To hold the loop costs a millisecond, which an epoch of a hundredth of a second would feel."""
    epochs = 200
    with epochwise.watch(steps_per_epoch=50, profile=False, verbose=False) as watched:
        for _ in range(epochs * 50):
            time.sleep(0.0002)
            watched.step()
    blocks = watched.explanation.model.measurement.blocks
    assert FIRST_BLOCKS + 2 < len(blocks) < epochs / 5
    assert {block.steps for block in blocks} == {block_that_fits(50)}


@pytest.mark.parametrize("through_batches", [True, False])
@pytest.mark.parametrize("steps", [40, 300])
def test_what_a_loop_does_between_its_epochs_is_part_of_them(steps: int, through_batches: bool) -> None:
    """A validation by hand, say: it comes after the last step of an epoch and before the first batch of the next."""
    between = 0.2
    with epochwise.watch(steps_per_epoch=steps, profile=False, verbose=False) as watched:
        for _ in range(8):
            for _ in watched.batches(range(steps)) if through_batches else range(steps):
                time.sleep(0.001)
                watched.step()
            time.sleep(between)
    result = watched.explanation.model
    assert steps * 0.001 + between < result.epoch_seconds.median < steps * 0.002 + 1.25 * between
    turn = {part.name: part.seconds for part in result.where}["turn between epochs"]
    assert 0.95 * between < turn < 1.25 * between


def test_a_loop_is_left_alone_ever_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a training of days is not held half a million times; here much sooner."""
    monkeypatch.setattr(observer, "BLOCK_SECONDS", 0.02)
    monkeypatch.setattr(observer, "REST_SHARE", 1.0)
    with epochwise.watch(profile=False, verbose=False) as watched:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            time.sleep(0.001)
            watched.step()
    began = [block.started_at for block in watched.explanation.model.measurement.blocks]
    assert FIRST_BLOCKS + 2 <= len(began) <= FIRST_BLOCKS + 8
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(began[FIRST_BLOCKS:]))


@pytest.mark.parametrize("steps_per_epoch", [None, 20, 500])
def test_a_loop_whose_device_lags_behind_is_held_rarely(monkeypatch: pytest.MonkeyPatch, steps_per_epoch: int | None) -> None:
    """To wait for a device with much to do takes long; the longer, the more rarely it is done."""
    waited: list[float] = []  # when

    def synchronize(_: object) -> None:
        time.sleep(0.01)
        waited.append(time.monotonic())

    monkeypatch.setattr(TorchRuntime, "synchronize", synchronize)
    with epochwise.watch(steps_per_epoch=steps_per_epoch, profile=False, verbose=False) as watched:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            for _ in watched.batches(range(20)):
                time.sleep(0.001)
                watched.step()
    assert len(watched.explanation.model.measurement.blocks) >= FIRST_BLOCKS
    assert len([when for when in waited if when > until - 2]) <= 4  # two for a block, and two for a turn


def test_an_error_in_the_loop_is_the_users() -> None:
    """It comes through, and the watching ends."""

    def broken() -> None:
        with epochwise.watch(verbose=False) as watched:
            watched.step()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="a shell that leaves a program behind")
def test_other_load_is_told_by_name() -> None:
    """Who else used the machine meanwhile is said, and that intervals are wider."""
    command = f"{sys.executable} -c 'while True: pass' >/dev/null 2>&1 & echo $!"  # left behind, so it is no child of ours
    other = int(subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout)
    try:
        with epochwise.watch(profile=False, verbose=False) as watched:
            until = time.monotonic() + 3
            while time.monotonic() < until:
                time.sleep(0.005)
                watched.step()
    finally:
        os.kill(other, signal.SIGKILL)
    notes = watched.explanation.notes
    assert any("Other programs used" in note and "python" in note and "intervals are wider" in note for note in notes)
