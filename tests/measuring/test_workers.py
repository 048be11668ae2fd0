"""Real worker processes: they answer, they fail in words, and none is left behind, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from epochwise.errors import EpochwiseError, ModelFailedError, WorkerDiedError
from epochwise.measuring.messages import Go, Load, Loaded, Paused, Start
from epochwise.measuring.workers import Worker
from epochwise.subjects.datasets import DataSpec

MODULE = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))

def broken():
    raise RuntimeError("no such thing as a free lunch")
"""

pytestmark = pytest.mark.torch


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Worker]]:
    """Starts a worker for a function of a small PyTorch file; kills it afterwards."""
    (tmp_path / "small.py").write_text(MODULE)
    data = DataSpec("random", (4, 4), 3, samples=320)
    started: list[Worker] = []

    def make(function: str) -> Worker:
        load = Load(f"{tmp_path / 'small.py'}:{function}", data, "pytorch", 32, 0)
        worker = Worker(load)
        started.append(worker)
        worker.tell(load)
        return worker

    yield make
    for worker in started:
        worker.close()
        assert not psutil.pid_exists(worker.pid)


def test_a_worker_trains_step_by_step(start: Callable[[str], Worker]) -> None:
    """It loads, counts, trains the asked steps, reports the ends of epochs, and profiles."""
    worker = start("build")
    loaded = worker.answer()
    assert isinstance(loaded, Loaded)
    assert (loaded.backend, loaded.samples, loaded.steps_per_epoch) == ("pytorch", 320, 10)
    assert loaded.counts.parameters.trainable == 16 * 8 + 8 + 8 * 3 + 3
    first = worker.ask(Start())
    assert isinstance(first, Paused)
    assert first.steps == 1
    block = worker.ask(Go(2, 10))
    assert isinstance(block, Paused)
    assert (block.epoch, block.next_step, len(block.ended)) == (2, 3, 1)
    profiled = worker.ask(Go(1, 5, profile=True))
    assert isinstance(profiled, Paused)
    assert profiled.profiled is not None, profiled.profiler_failure
    layers = {kernel.layer for kernel in profiled.profiled.kernels}
    assert {"1", "3", "(loss)", "(optimizer)"} <= layers
    # Each is typical of a step, and all five steps were timed.
    assert 0 < sum(kernel.seconds_per_step for kernel in profiled.profiled.kernels) <= profiled.seconds


def test_the_users_own_error_arrives_as_itself(start: Callable[[str], Worker]) -> None:
    """A function that raises in the worker is told in this process with its own message."""
    with pytest.raises(ModelFailedError, match="no such thing as a free lunch"):
        start("broken").answer()


def test_a_worker_killed_for_memory_is_named_with_its_signal(start: Callable[[str], Worker]) -> None:
    """Which model, which signal, and the usual cause."""
    worker = start("build")
    worker.answer()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError) as died:
        worker.ask(Start())
    assert "small.py:build" in died.value.what
    assert "signal 9 (SIGKILL)" in died.value.what
    assert "memory" in died.value.cause


def test_a_worker_that_leaves_is_quoted(tmp_path: Path) -> None:
    """What it said last is in the message, and its exit code."""
    (tmp_path / "leaves.py").write_text(
        "import os, torch\n\ndef build():\n    print('farewell', flush=True)\n    os._exit(3)\n"
    )
    load = Load(f"{tmp_path / 'leaves.py'}:build", DataSpec("random", (4, 4), 3, samples=64), "pytorch", 32, 0)
    worker = Worker(load)
    try:
        with pytest.raises(EpochwiseError, match="exit code 3"):
            worker.ask(load)
    finally:
        worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])  # SIGTERM ends as SIGKILL does: without a word
def test_no_worker_outlives_the_measuring_process(tmp_path: Path, number: signal.Signals) -> None:
    """Killed or interrupted in the midst of measuring, the command leaves no process."""
    (tmp_path / "small.py").write_text(MODULE)
    code = f"""
        from epochwise.explaining.compare import compare_named
        from epochwise.explaining.loads import loads_for
        from epochwise.subjects.datasets import DataSpec
        data = DataSpec("random", (4, 4), 3, samples=32000)
        names = [{str(tmp_path / "small.py")!r} + ":build"] * 2
        loads = loads_for(names, data, backend="torch", batch_size=32, seed=0)
        compare_named(loads, 60.0, lambda done, total, text: print(text, flush=True))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "in turn" in line:
            break
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 2
    process.send_signal(number)
    process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers):
        assert time.monotonic() < deadline, workers
        time.sleep(0.05)
