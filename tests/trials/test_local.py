"""Trials on this machine's cores: real processes that compute, fail, are killed, and are gone afterwards."""

from __future__ import annotations

import os
import signal
import time

import msgspec
import psutil
import pytest

from epochwise.errors import TrialsFailedError, UsageError, WorkerDiedError
from epochwise.trials import Failed, Finished, Local, Store, complete
from epochwise.trials.execution import execute
from tests.trials import program, toys


def test_results_are_those_of_the_function_called_here(tmp_path):
    """Bit for bit; each trial once though it is asked for twice; what is kept is not run again; progress adds up."""
    log = tmp_path / "log"
    trials = [toys.trial(seed=seed, log=str(log)) for seed in (3, 1, 2, 3, 1)]
    told = []
    with Store(tmp_path / "trials.sqlite") as store:
        first = complete(trials[:2], store, Local(2))
        results = complete(trials, store, Local(2), lambda *state: told.append(state))
    assert sorted(toys.executions(log)) == ["1", "2", "3"]
    assert list(results) == list(dict.fromkeys(trial.key for trial in trials))
    for trial in trials:
        alone = execute(trial.key, trial.description)
        assert isinstance(alone, Finished)
        assert results[trial.key].arrays["drawn"].tobytes() in alone.arrays
        assert results[trial.key].numbers["mean"] == toys.draw({"seed": trial.arguments["seed"]}).numbers["mean"]
    assert all(first[key].digest == results[key].digest for key in first)
    assert told[0] == (2.0, 3.0, told[0][2])
    assert told[-1] == (3.0, 3.0, "3 of 3 trials")


def test_one_that_keeps_several_cores_busy_runs_when_they_are_free(tmp_path):
    """Beside it nothing runs; one that wants more cores than there are gets all; none is lost, and all processes end."""
    trials = [toys.trial(seed=seed, seconds=0.3, cores=cores) for seed, cores in enumerate((1, 2, 1, 16, 1))]
    begun = time.time()
    with Store(tmp_path / "trials.sqlite") as store:
        results = complete(trials, store, Local(2))
    spans = {key: (result.measured["began"], result.measured["ended"]) for key, result in results.items()}
    assert len(spans) == len(trials)
    assert all(begun < began < ended for began, ended in spans.values())
    for wide in (trials[1], trials[3]):
        first, last = spans.pop(wide.key)
        assert all(ended <= first or began >= last for began, ended in spans.values())
    assert not psutil.Process().children(recursive=True)


def test_a_worker_killed_while_it_waits_is_replaced():
    """It had nothing to do, so nothing failed."""
    trials = [toys.trial(seed=0, seconds=1.5), toys.trial("surroundings", names=[]), toys.trial(seed=1, cores=2)]
    ended = []
    for event in Local(2).run(trials):
        if isinstance(event, Finished | Failed):
            ended.append(event)
            if event.key == trials[1].key:
                os.kill(msgspec.msgpack.decode(event.numbers)["pid"], signal.SIGKILL)
    assert {event.key for event in ended} == {trial.key for trial in trials}
    assert all(isinstance(event, Finished) for event in ended)


def test_the_longest_are_begun_first(tmp_path):
    """So that no core waits at the end for a long one that another began last."""
    log = str(tmp_path / "log")
    with Store(tmp_path / "trials.sqlite") as store:
        complete([toys.trial(seed=cost, cost=cost, log=log) for cost in (2, 5, 3, 4, 1)], store, Local(1))
    assert toys.executions(tmp_path / "log") == ["5", "4", "3", "2", "1"]


def test_workers_have_one_thread_and_the_backend(tmp_path):
    """And no accelerator. Two work at once, in two processes that are gone afterwards."""
    names = ["KERAS_BACKEND", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC", "CUDA_VISIBLE_DEVICES"]
    trials = [toys.trial("surroundings", names=names, seed=seed) for seed in range(2)]
    with Store(tmp_path / "trials.sqlite") as store:
        results = list(complete(trials, store, Local(2, backend="jax")).values())
    assert [results[0].numbers[name] for name in names] == ["jax", "1", "1", "1", "-1"]
    assert results[0].backend == "jax"
    assert len({result.numbers["pid"] for result in results}) == 2
    assert {result.numbers["parent"] for result in results} == {os.getpid()}
    assert not any(psutil.pid_exists(result.numbers["pid"]) for result in results)


def test_trials_that_fail_are_named_and_the_others_go_on(tmp_path):
    """With the reason and the place in the user's code; the next run tries only them again."""
    wrong = {
        toys.trial("broken", seed=7): "ValueError: no luck with seed 7",
        toys.trial("leaves", code=3): "SystemExit: 3",
        toys.trial("wrong", kind="number"): "gave a int",
        toys.trial("wrong", kind="array"): "hold a NumPy array",
        toys.trial("wrong", kind="object"): r"arrays['x'] is of type object",
        toys.trial("missing"): "has no attribute 'missing'",
        toys.trial("draw", nothing=1): "KeyError: 'seed'",
    }
    good = [toys.trial(seed=seed) for seed in range(3)]
    with Store(tmp_path / "trials.sqlite") as store:
        with pytest.raises(TrialsFailedError, match="7 trials have no result; 3 have one and are kept") as caught:
            complete([*wrong, *good], store, Local(2))
        assert len(store) == 3
    assert set(caught.value.results) == {trial.key for trial in good}
    for trial, text in wrong.items():
        assert text in caught.value.failures[trial.key]
    assert "toys.py" in caught.value.failures[toys.trial("broken", seed=7).key]


def test_the_trial_of_a_killed_worker_is_run_again(tmp_path):
    """In another worker; the others do not notice. One that kills every worker has failed, and is told why."""
    log = tmp_path / "log"
    again = toys.trial("once_killed", seed=1, log=str(log), cost=2)
    others = [toys.trial(seed=seed) for seed in range(4)]
    never = toys.trial("once_killed", seed=2, log=str(tmp_path / "other"), always=True)
    with Store(tmp_path / "trials.sqlite") as store:
        results = complete([again, *others], store, Local(1))
        assert results[again.key].numbers["seed"] == 1
        assert toys.executions(log) == ["1", "1"]
        with pytest.raises(TrialsFailedError, match=r"ended by signal 9 \(SIGKILL\), 2 times\.\n.*memory ran out"):
            complete([never, toys.trial(seed=9)], store, Local(2))
        assert toys.trial(seed=9) in store
    assert toys.executions(tmp_path / "other") == ["2", "2"]


def test_workers_that_cannot_start_are_an_error_with_their_words(tmp_path, monkeypatch):
    """Not a failure of each trial in turn."""
    (tmp_path / "msgspec.py").write_text("raise ImportError('half of an installation')")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        Store(tmp_path / "trials.sqlite") as store,
        pytest.raises(WorkerDiedError, match=r"(?s)exit code 1 while it started.*half of an installation"),
    ):
        complete([toys.trial(seed=seed) for seed in range(4)], store, Local(2))


def test_no_workers_are_no_runner():
    """Said at once."""
    with pytest.raises(UsageError, match="0 workers"):
        Local(0)


def test_a_runner_that_is_left_leaves_nothing():
    """Closing the generator ends the workers, whatever they do."""
    events = Local(2).run([toys.trial(seed=seed, seconds=60) for seed in range(2)])
    next(events)
    workers = psutil.Process().children()
    assert len(workers) >= 2
    events.close()
    assert program.gone(workers, seconds=0)


@pytest.mark.alone
def test_ctrl_c_ends_everything_at_once(tmp_path):
    """It takes a fraction of a second (the margin is for a loaded machine), whatever the workers do, and none is left."""
    settings = {"store": tmp_path / "trials.sqlite", "log": tmp_path / "log", "count": 9, "seconds": 60, "workers": 2}
    running = program.start(**settings)
    while len(toys.executions(tmp_path / "log")) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(running.pid).children()
    assert len(workers) == 2
    os.kill(running.pid, signal.SIGINT)
    begun = time.monotonic()
    said, _ = running.communicate(timeout=60)
    assert time.monotonic() - begun < 5.0
    assert running.returncode == 130, said
    assert program.gone(workers, seconds=1)
    assert [path.name for path in tmp_path.glob("trials*")] == ["trials.sqlite"]


def test_workers_end_with_a_main_process_that_is_killed(tmp_path):
    """By the system, in the middle of a trial: none goes on for nobody."""
    running = program.start(store=tmp_path / "trials.sqlite", count=60, seconds=30, workers=2)
    while len(psutil.Process(running.pid).children()) < 2:
        time.sleep(0.05)
        assert running.poll() is None
    program.kill(running)


def test_failed_and_finished_say_which_trial():
    """What a runner tells can be kept by its key alone."""
    good, bad = toys.trial(seed=1), toys.trial("broken", seed=1)
    events = [event for event in Local(2).run([good, bad]) if isinstance(event, Finished | Failed)]
    assert {type(event).__name__: event.key for event in events} == {"Finished": good.key, "Failed": bad.key}
