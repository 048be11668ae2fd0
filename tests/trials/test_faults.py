"""Kills at random moments, and a disk that is full: what was kept stays, and only what was under way is run again."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from epochwise.errors import StoreError, TrialsFailedError
from epochwise.trials import Finished, Store, Trial
from epochwise.trials.execution import execute
from tests.trials import program, toys

WORKERS = 2


class Harness:
    """Runs a program again and again, and kills it or one of its workers at random moments.

    Attributes:
        allowed: how many executions there may be at most: each trial once, and each kill may cost what was under way.
    """

    def __init__(self, seed: int, **settings: object) -> None:
        self.settings = settings
        self.plan = program.plan(settings)
        self.workers = 1 if settings.get("where") == "here" else WORKERS
        self.allowed = len(self.plan)
        self.kills = 0
        self._random = random.Random(seed)
        self._log = Path(str(settings["log"]))
        self._store = Path(str(settings["store"]))

    def kill(self, longest_wait: float, worker: bool) -> bool:
        """Start the program, kill it or a worker; false if it was done before that."""
        running = program.start(**self.settings)
        while not running.stdout.readline().startswith(tuple("0123456789")):
            if running.poll() is not None:
                running.communicate()
                return False
        time.sleep(self._random.uniform(0.0, longest_wait))
        if worker:
            self._kill_a_worker(running)
            time.sleep(self._random.uniform(0.0, longest_wait))
        if running.poll() is not None:
            running.communicate()
            assert running.returncode in (0, TrialsFailedError.exit_code)
            return False
        program.kill(running)
        self.kills += 1
        self.allowed += self.workers
        self._nothing_kept_is_run_again()
        return True

    def finish(self) -> None:
        """Undisturbed to the end."""
        program.finish(**self.settings)
        assert len(toys.executions(self._log)) <= self.allowed

    def _kill_a_worker(self, running: subprocess.Popen[str]) -> None:
        try:
            workers = psutil.Process(running.pid).children()
        except psutil.NoSuchProcess:
            return
        if workers:
            os.kill(self._random.choice(workers).pid, signal.SIGKILL)
            self.allowed += 1
            self.kills += 1

    def _nothing_kept_is_run_again(self) -> None:
        """What has been run and is not kept was under way at one of the kills; what is kept is whole."""
        begun = toys.executions(self._log)
        with Store(self._store, writing=False) as store:
            kept = [trial for trial in self.plan if store.get(trial) is not None]
        assert len(begun) <= len(kept) + self.allowed - len(self.plan)
        assert {str(trial.arguments["seed"]) for trial in kept} <= set(begun)


def killed_again_and_again(folder: Path, kills: int, seed: int, **settings: object) -> list[tuple[object, ...]]:
    """The table after so many kills (fewer if all was done before) and an undisturbed end."""
    settings = {**settings, "store": folder / "trials.sqlite", "log": folder / "log"}
    harness = Harness(seed, **settings)
    here = settings.get("where") == "here"
    while harness.kills < kills and harness.kill(0.5 if here else 1.0, worker=not here and harness.kills % 2 == 1):
        pass
    harness.finish()
    assert harness.kills
    assert not list(folder.glob("*aside*"))
    return program.table(folder / "trials.sqlite")


def undisturbed(folder: Path, **settings: object) -> list[tuple[object, ...]]:
    """The table of the same trials (the log is in their descriptions), never killed."""
    before = len(toys.executions(folder / "log"))
    program.finish(**settings, store=folder / "undisturbed.sqlite", log=folder / "log")
    assert len(toys.executions(folder / "log")) == before + int(str(settings["count"]))
    return program.table(folder / "undisturbed.sqlite")


def executed_here(folder: Path, **settings: object) -> list[tuple[object, ...]]:
    """The same table, from calling the functions in this process."""
    rows: list[tuple[object, ...]] = []
    for trial in program.plan({**settings, "seconds": 0.0, "log": folder / "log"}):
        event = execute(trial.key, trial.description)
        assert isinstance(event, Finished)
        rows.append((trial.arguments["seed"], event.numbers, event.arrays))
    return sorted(rows)


def without_keys(table: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Seed, numbers and arrays of each row: what ``executed_here`` can know."""
    return sorted((json.loads(str(row[1]))["arguments"]["seed"], row[2], row[3]) for row in table)


def test_killed_at_random_and_resumed_the_table_is_the_same(tmp_path):
    """The main process and workers, by ``kill -9``."""
    settings = {"count": 30, "seconds": 0.1, "workers": WORKERS}
    table = killed_again_and_again(tmp_path, kills=3, seed=1, **settings)
    assert without_keys(table) == executed_here(tmp_path, **settings)


def test_killed_in_the_middle_of_writes_the_table_is_the_same(tmp_path):
    """Trials that take no time with large results: the program does little else than write."""
    settings = {"count": 120, "size": 30_000, "where": "here"}
    table = killed_again_and_again(tmp_path, kills=4, seed=4, **settings)
    assert without_keys(table) == executed_here(tmp_path, **settings)


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3])
def test_killed_twenty_times_the_table_is_the_same(tmp_path, seed):
    """As above, until nearly every trial was under way at a kill; compared with a run that was never killed."""
    settings = {"count": 150, "seconds": 0.15, "workers": WORKERS}
    assert killed_again_and_again(tmp_path, kills=20, seed=seed, **settings) == undisturbed(tmp_path, **settings)


@pytest.mark.long
def test_killed_forty_times_in_the_middle_of_writes(tmp_path):
    """As above."""
    settings = {"count": 1000, "size": 30_000, "where": "here"}
    assert killed_again_and_again(tmp_path, kills=40, seed=5, **settings) == undisturbed(tmp_path, **settings)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
from tests.trials import program
sys.argv = [sys.argv[0], sys.argv[1]]
program.main()
"""


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path):
    """Met here as a limit on the size of files. With more room the same command goes on."""
    settings = {
        "store": str(tmp_path / "trials.sqlite"),
        "log": str(tmp_path / "log"),
        "count": 30,
        "size": 10_000,
        "workers": 2,
    }
    command = [sys.executable, "-c", LIMITED, json.dumps(settings), str(1_000_000)]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=program.ROOT)
    assert done.returncode == StoreError.exit_code, done.stderr
    said = " ".join(done.stderr.split())
    assert "cannot be written to" in said
    assert "What was kept before is still there." in said
    assert "make room, and run the same command again" in said
    kept = [row[0] for row in program.table(tmp_path / "trials.sqlite")]
    assert 5 < len(kept) < 30
    program.finish(**settings)
    assert len(program.table(tmp_path / "trials.sqlite")) == 30
    plan: list[Trial] = program.plan(settings)
    kept_seeds = {str(trial.arguments["seed"]) for trial in plan if trial.key in kept}
    begun = toys.executions(tmp_path / "log")
    assert all(begun.count(seed) == 1 for seed in kept_seeds)
