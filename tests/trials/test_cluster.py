"""Trials on Ray: the same bits as here, whatever dies meanwhile; and clear words where there is no cluster."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from epochwise.errors import BackendMissingError, ClusterError, TrialsFailedError
from epochwise.trials import Cluster, Finished, Store, Trial, complete
from epochwise.trials import cluster as runner
from epochwise.trials.execution import execute
from epochwise.trials.processes import GRACE_SECONDS
from tests.trials import program, toys
from tests.trials.nodes import RayCluster

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")]


@pytest.fixture
def one_node() -> Iterator[RayCluster]:
    cluster = RayCluster(1)
    yield cluster
    cluster.close()


@pytest.fixture
def two_nodes() -> Iterator[RayCluster]:
    cluster = RayCluster(2)
    yield cluster
    cluster.close()


def executed_here(trials: list[Trial]) -> dict[object, tuple[bytes, bytes]]:
    """Numbers and arrays, by key, from calling the functions in this process."""
    events = [execute(trial.key, trial.description) for trial in trials]
    return {event.key: (event.numbers, event.arrays) for event in events if isinstance(event, Finished)}


def kept(store: Path) -> dict[object, tuple[object, object]]:
    return {key: (numbers, arrays) for key, _, numbers, arrays, _, _ in program.table(store)}


def test_a_local_cluster_gives_the_same_bits(tmp_path, capfd):
    """Results, failures and a worker that is killed are as on this machine's cores; Ray says nothing, and goes."""
    log = tmp_path / "log"
    names = ["KERAS_BACKEND", "OMP_NUM_THREADS", "NPROC"]
    around = toys.trial("surroundings", names=names, seed=1)
    good = [toys.trial(seed=seed, size=50_000 * seed) for seed in range(1, 5)]
    again = toys.trial("once_killed", seed=1, log=str(log))
    never = toys.trial("once_killed", seed=2, log=str(tmp_path / "other"), always=True)
    wrong = toys.trial("broken", seed=7)
    with Store(tmp_path / "trials.sqlite") as store:
        with pytest.raises(TrialsFailedError, match="2 trials have no result; 6 have one") as caught:
            complete([*good, again, never, wrong, around], store, Cluster("local", workers=2, backend="jax"))
        results = caught.value.results
    assert "no luck with seed 7" in caught.value.failures[wrong.key]
    assert "Its worker was ended 2 times" in caught.value.failures[never.key]
    assert [results[around.key].numbers[name] for name in names] == ["jax", "1", "1"]
    here = executed_here(good)
    there = kept(tmp_path / "trials.sqlite")
    assert len(here) == 4
    assert {key: there[key] for key in here} == here
    assert toys.executions(log) == ["1", "1"]
    assert capfd.readouterr() == ("", "")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_cluster_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    """In less than 30 seconds. Nobody listens; somebody listens who is no cluster; what was kept is still there."""
    assert runner.JOIN_SECONDS + GRACE_SECONDS < 30
    monkeypatch.setattr(runner, "JOIN_SECONDS", 5.0)
    good = toys.trial(seed=1)
    with socket.socket() as deaf, Store(tmp_path / "trials.sqlite") as store:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        complete([good], store, program.Here())
        for port in (free_port(), deaf.getsockname()[1]):
            with pytest.raises(ClusterError, match=f"127.0.0.1:{port} (cannot be|did not answer)"):
                complete([good, toys.trial(seed=2)], store, Cluster(f"127.0.0.1:{port}"))
        assert len(store) == 1


def test_without_ray_the_extra_is_named(monkeypatch):
    """With the line that installs it."""
    monkeypatch.setattr("epochwise.trials.cluster.find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"pip install 'epochwise\[cluster\]'"):
        Cluster("local")


@pytest.mark.long
def test_a_node_is_killed_and_all_trials_complete(tmp_path, two_nodes):
    """Those of the dead node run again on the other; the table is the same; what was kept is run once."""
    log = tmp_path / "log"
    trials = [toys.trial(seed=seed, seconds=0.5, log=str(log), size=30_000) for seed in range(30)]
    killed = []

    def report(done: float, total: float, text: str) -> None:
        if done >= 8 and not killed:
            two_nodes.kill_second_node()
            killed.append(len(toys.executions(log)))

    with Store(tmp_path / "trials.sqlite") as store:
        results = complete(trials, store, Cluster(two_nodes.address), report)
    assert killed
    assert len(results) == 30
    expected = executed_here([toys.trial(seed=seed, size=30_000) for seed in range(30)])
    found = kept(tmp_path / "trials.sqlite")
    assert sorted(found.values()) == sorted(expected.values())
    assert set(found) == {trial.key for trial in trials}


@pytest.mark.long
def test_a_cluster_that_is_lost_is_an_error_and_what_was_done_is_kept(tmp_path, one_node):
    """Its head is killed in the middle; on this machine the rest is done."""
    trials = [toys.trial(seed=seed, seconds=0.5) for seed in range(12)]

    def report(done: float, total: float, text: str) -> None:
        if done == 4:
            one_node.kill_head()

    with Store(tmp_path / "trials.sqlite") as store:
        with pytest.raises(ClusterError, match=r"What was finished is kept|cannot run trials"):
            complete(trials, store, Cluster(one_node.address), report)
        assert 4 <= len(store) < 12
        assert len(complete(trials, store, program.Here())) == 12


@pytest.mark.long
def test_nodes_without_epochwise_are_named(tmp_path):
    """A cluster whose Python does not find it: what is missing, and where."""
    store = tmp_path / "trials.sqlite"
    hidden = tmp_path / "hidden"
    (hidden / "epochwise").mkdir(parents=True)
    (hidden / "epochwise" / "__init__.py").write_text("raise ImportError('not here')")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(hidden)
    try:
        cluster = RayCluster(1)
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
    try:
        with Store(store) as kept_in, pytest.raises(ClusterError, match=r"cannot import epochwise.*not here"):
            complete([toys.trial(seed=1)], kept_in, Cluster(cluster.address))
    finally:
        cluster.close()


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_kill_leave_no_trial_running(tmp_path, kill):
    """Ctrl-C takes a fraction of a second (the margin is for a loaded machine); after ``kill -9`` the system sees to it."""
    log = tmp_path / "log"
    running = program.start(store=tmp_path / "trials.sqlite", count=9, seconds=100, workers=2, where="local", log=log)
    while len(toys.executions(log)) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    workers = [each for each in psutil.Process(running.pid).children(recursive=True) if _is_rays_worker(each)]
    assert len(workers) == 2
    os.kill(running.pid, kill)
    begun = time.monotonic()
    running.communicate(timeout=60)
    assert time.monotonic() - begun < 5.0
    assert program.gone(workers)


def _is_rays_worker(process: psutil.Process) -> bool:
    try:
        return "ray::on_node" in " ".join(process.cmdline())
    except psutil.Error:
        return False
