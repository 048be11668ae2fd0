"""The smoke tier from end to end on real data: killed again and again, and on a Ray cluster that loses a node.

Takes up to half an hour. What is compared is every trial's result to the bit, and all that is concluded from them, except
times, which are measured anew in each run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.trials import program
from tests.trials.nodes import RayCluster

pytestmark = [
    pytest.mark.long,
    pytest.mark.alone,
    pytest.mark.jax,
    pytest.mark.fashion_mnist,
    pytest.mark.timeout(3000),
]

KILLS = 20
MEASURED = ("P2", "P10")
"""Protocols whose findings are times; in others, charts and tables may show some."""
COMPARED = ("verdict", "estimate", "low", "high", "sentence", "further", "checks", "maps", "notes")


def start(store: Path, *further: str) -> subprocess.Popen[bytes]:
    """All protocols of the smoke tier, as a user runs them."""
    command = [sys.executable, "-m", "epochwise", "evidence", "--tier", "smoke", "--backend", "jax", "--store", str(store)]
    return subprocess.Popen(
        [*command, *further], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, cwd=program.ROOT
    )


def finished(store: Path, record: Path, *further: str) -> dict[str, Any]:
    """Run to the end; the record."""
    running = start(store, "--json", str(record), *further)
    _, said = running.communicate()
    assert running.returncode == 0, said.decode()
    found: dict[str, Any] = json.loads(record.read_text())
    return found


def kept(store: Path) -> dict[str, tuple[str, str]]:
    """Bits and time of every result that is kept, by the key of its trial; none where there is no store yet."""
    if not store.exists():
        return {}
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)
    try:
        return {key: (bits, when) for key, bits, when in connection.execute("SELECT key, digest, finished_at FROM trials")}
    except sqlite3.OperationalError:  # the table is just being made
        return {}
    finally:
        connection.close()


def concluded(record: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on how long things took."""
    untimed = (each for each in record["experiments"] if each["id"] not in MEASURED)
    return {each["id"]: {name: each[name] for name in COMPARED} for each in untimed}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[dict[str, tuple[str, str]], dict[str, Any]]:
    """A run that nobody kills: its store and its record."""
    folder = tmp_path_factory.mktemp("undisturbed")
    record = finished(folder / "trials.sqlite", folder / "record.json")
    return kept(folder / "trials.sqlite"), record


def same(store: Path, record: dict[str, Any], undisturbed: tuple[dict[str, tuple[str, str]], dict[str, Any]]) -> None:
    """The same trials with the same bits, and the same conclusions."""
    theirs, whole = undisturbed
    assert {key: bits for key, (bits, _) in kept(store).items()} == {key: bits for key, (bits, _) in theirs.items()}
    assert concluded(record) == concluded(whole)
    assert [row["claim"] for row in record["verdicts"]] == [row["claim"] for row in whole["verdicts"]]


def test_killed_twenty_times_the_table_is_the_same(tmp_path, undisturbed):
    """The main process or a worker, at random moments; what was kept stays, and is not trained again."""
    store = tmp_path / "trials.sqlite"
    moments = random.Random(20)
    kills, before = 0, {}
    while kills < KILLS:
        running = start(store)
        time.sleep(moments.uniform(9.0, 22.0))
        if running.poll() is not None:
            running.communicate()
            pytest.fail(f"all was done after {kills} kills")
        workers = psutil.Process(running.pid).children()
        if moments.random() < 0.5 and workers:
            os.kill(moments.choice(workers).pid, signal.SIGKILL)
            kills += 1
            time.sleep(moments.uniform(2.0, 8.0))
        if running.poll() is None:
            program.kill(running)
            kills += 1
        now = kept(store)
        assert before.items() <= now.items(), "something that was kept was lost or trained again"
        before = now
    record = finished(store, tmp_path / "record.json")
    assert before.items() <= kept(store).items()
    same(store, record, undisturbed)


@pytest.mark.cluster
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_cluster_that_loses_one_of_two_nodes_comes_to_the_same_table(tmp_path, undisturbed):
    """In the middle of the run; the trials of the dead node run on the other."""
    store = tmp_path / "trials.sqlite"
    cluster = RayCluster(2)
    try:
        running = start(store, "--json", str(tmp_path / "record.json"), "--cluster", cluster.address)
        while len(kept(store)) < len(undisturbed[0]) // 3:
            assert running.poll() is None, running.stderr.read().decode()
            time.sleep(0.5)
        cluster.kill_second_node()
        at_death = kept(store)
        _, said = running.communicate()
        assert running.returncode == 0, said.decode()
    finally:
        cluster.close()
    assert len(at_death) < len(undisturbed[0])
    assert at_death.items() <= kept(store).items()
    same(store, json.loads((tmp_path / "record.json").read_text()), undisturbed)
