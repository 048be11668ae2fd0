"""A program that completes a plan of toy trials, to be killed: ``python -m tests.trials.program SETTINGS`` (JSON)."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import psutil

from epochwise.cli.failures import told
from epochwise.trials import Cluster, Local, Runner, Store, Trial, complete
from epochwise.trials.events import Event, Tick
from epochwise.trials.execution import execute
from tests.trials import toys

ROOT = Path(__file__).parents[2]


class Here:
    """Runs trials in the main process, one after another: what is left of its time goes into writing."""

    def run(self, trials: Sequence[Trial]) -> Generator[Event, None, None]:
        yield Tick(1)
        for trial in trials:
            yield execute(trial.key, trial.description)


def plan(settings: dict[str, Any]) -> list[Trial]:
    """The trials of a program with these settings."""
    shared = {name: settings[name] for name in ("seconds", "size") if name in settings}
    if "log" in settings:
        shared["log"] = str(settings["log"])
    return [toys.trial(seed=seed, **shared) for seed in range(settings["count"])]


def start(**settings: Any) -> subprocess.Popen[str]:
    """The program as a process of its own, in a session of its own; standard output and errors together."""
    command = [sys.executable, "-m", "tests.trials.program", json.dumps(settings, default=str)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(**settings: Any) -> str:
    """Run the program to its end, which must be a good one; what it said."""
    process = start(**settings)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def kill(process: subprocess.Popen[str]) -> None:
    """``kill -9`` the program, and wait until all of its workers are gone, too."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert gone(children)


def gone(processes: list[psutil.Process], seconds: float = 20.0) -> bool:
    """Whether all of these have ended, or do so soon. Where nobody buries the children of the dead, they stay as zombies."""
    deadline = time.monotonic() + seconds
    while any(map(_lives, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def table(store: Path) -> list[tuple[object, ...]]:
    """What must be identical, however the trials were run, read without the code that wrote it."""
    connection = sqlite3.connect(store)
    try:
        return list(connection.execute("SELECT key, description, numbers, arrays, digest, engine FROM trials ORDER BY key"))
    finally:
        connection.close()


def _runner(settings: dict[str, Any]) -> Runner:
    where = settings.get("where", "workers")
    if where == "here":
        return Here()
    return Local(settings.get("workers")) if where == "workers" else Cluster(where, settings.get("workers"))


@told()
def main() -> None:
    """Complete the plan, and tell what is told."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background processes without
    settings = json.loads(sys.argv[1])
    with Store(settings["store"]) as store:
        _say(*store.notes)
        complete(plan(settings), store, _runner(settings), lambda done, total, text: _say(text))
    _say("complete")


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
