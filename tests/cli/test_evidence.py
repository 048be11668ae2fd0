"""``epochwise evidence``: what is asked is understood or refused before any work, and what was found is delivered."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import typer.main
from msgspec.structs import replace

from epochwise.cli.app import app
from epochwise.cli.demo import demo
from epochwise.cli.failures import INTERRUPTED
from epochwise.errors import BackendMissingError, UsageError
from epochwise.experiments import evidence as core
from epochwise.experiments import kept as keeping_place
from epochwise.explaining import demo as measured_demo
from epochwise.trials import cluster
from tests.reporting import evidence_samples, samples

COMMAND = [sys.executable, "-m", "epochwise", "evidence"]


@pytest.fixture
def asked(monkeypatch):
    """Requests that reach the core, which answers with made-up records."""
    requests = []

    def run(request, progress, say):
        requests.append(request)
        say("Images reach the model within [0, 1.5e-05].")
        progress(1, 2, "17 of 60 trials, about 3 min left")
        return replace(evidence_samples.untrusted(), tier=request.tier)

    monkeypatch.setattr(core, "run", run)

    def plan(request, progress):
        requests.append(request)
        progress(0, 2, "looking at models and data")
        return evidence_samples.PLAN

    monkeypatch.setattr(core, "plan", plan)
    return requests


def call(*arguments):
    """The verb in this process, as the command line calls it."""
    typer.main.get_command(app)(["evidence", *arguments], prog_name="epochwise", standalone_mode=False)


def refused(capsys, *arguments):
    """The exit code, and what was said on standard error, in one line."""
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    shown = capsys.readouterr()
    assert shown.out == ""
    return caught.value.code, " ".join(shown.err.split())


def test_experiments_and_models_are_told_apart(asked):
    """By their form, in any order and case, with commas or without; each experiment once."""
    call("p6", "models.py:dense", "P1,P10", "P6", "models.py:cnn", "--tier", "standard", "--seed", "7", "--store", "s.sqlite")
    (request,) = asked
    assert request.experiments == ("P6", "P1", "P10")
    assert request.models == ("models.py:dense", "models.py:cnn")
    assert (request.tier, request.seed, request.store) == ("standard", 7, "s.sqlite")
    assert (request.data, request.backend, request.cluster, request.workers) == ("fashion-mnist", None, None, None)


def test_what_was_found_is_shown_and_written(asked, tmp_path, capsys):
    """The verdicts on standard output, notes and progress with time left on standard error, JSON and page in their files."""
    call("--json", str(tmp_path / "r.json"), "--report", str(tmp_path / "r.html"))
    shown = capsys.readouterr()
    assert "A CNN generalises to any place" in shown.out
    assert max(len(line) for line in shown.out.splitlines()) <= 100
    first, second, *_ = shown.err.splitlines()
    assert first == "Images reach the model within [0, 1.5e-05]."
    assert second == " 50%  17 of 60 trials, about 3 min left"
    assert json.loads((tmp_path / "r.json").read_text())["schema"] == "epochwise/evidence/1"
    assert "What is said, and what was measured" in (tmp_path / "r.html").read_text()
    call("P0", "--json", "-")
    assert json.loads(capsys.readouterr().out)["tier"] == "smoke"


@pytest.mark.parametrize("option", ["--plan", "--status"])
def test_plan_and_status_train_nothing(asked, option, capsys):
    """They only say what is there and what is left, and meanwhile what they look at."""
    call("P1", option)
    shown = capsys.readouterr()
    assert "21 trainings are left: about 5.7 min with 2 workers" in " ".join(shown.out.split())
    assert "looking at models and data" in shown.err
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["P11"], "There is no experiment P11. There are P0, P1"),
        (["P1", "P-6"], "There is no experiment P-6"),
        (["models.py:dense"], "One model was given (models.py:dense); the experiments compare two"),
        (["a.py:f", "b.py:g", "c.py:h"], "3 models were given"),
        (["--tier", "standrad"], "Did you mean standard?"),
        (["--plan", "--json", "r.json"], "--plan trains nothing"),
        (["--status", "--report", "r.html"], "--status trains nothing"),
        (["--cluster", "10.0.0.1:6379", "--workers", "4"], "its nodes say how many"),
        (["--json", "no/such/folder/r.json"], "folder"),
    ],
)
def test_refused_before_any_work(asked, capsys, arguments, said):
    """With what was given and what works."""
    code, told = refused(capsys, *arguments)
    assert code == UsageError.exit_code
    assert said in told
    assert "what works: " in told
    assert not asked


def test_a_cluster_needs_ray(asked, monkeypatch, capsys):
    """Said before any work, with the line that installs it."""
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == "ray" else importlib.util.find_spec(name))
    code, told = refused(capsys, "--cluster", "local", "--plan")
    assert code == BackendMissingError.exit_code
    assert "Ray is not installed" in told
    assert "pip install 'epochwise[cluster]'" in told
    assert not asked


def test_the_folder_of_the_data_reaches_the_processes_that_train(asked, monkeypatch, tmp_path):
    """By the environment, as a whole path, since they may run in another folder."""
    monkeypatch.setenv("EPOCHWISE_DATA", "before")
    monkeypatch.chdir(tmp_path)
    call("--data-dir", "images", "--status")
    assert os.environ["EPOCHWISE_DATA"] == str(tmp_path / "images")


def test_ctrl_c_says_that_nothing_is_lost(asked, monkeypatch, capsys):
    """And how to go on; it stays an interruption."""

    def interrupted(request, progress, say):
        raise KeyboardInterrupt

    monkeypatch.setattr(core, "run", interrupted)
    code, told = refused(capsys, "P0")
    assert code == INTERRUPTED
    assert "the same command goes on from there. Interrupted." in told


def test_errors_are_told_by_the_command(tmp_path):
    """Exit code 2, standard error alone, no traceback, and quickly: nothing is loaded for it."""
    done = subprocess.run([*COMMAND, "P99"], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: There is no experiment P99.")
    assert "Traceback" not in done.stderr


def test_the_demo_shows_the_verdicts_that_ship(monkeypatch, tmp_path, capsys):
    """After its own answer: those of the kept record with its day, and how to run it here; nothing beside JSON."""
    monkeypatch.setattr(keeping_place, "FOLDER", tmp_path)
    monkeypatch.setattr(measured_demo, "run_demo", lambda **given: samples.demo())
    (tmp_path / "2026-02-01-evidence.json").write_text(evidence_samples.evidence().to_json())
    demo(json=None, report=None)
    out = " ".join(capsys.readouterr().out.split())
    assert out.index("What the extra time buys Measured on 2026-02-01") < out.index("A CNN generalises to any place")
    assert "epochwise evidence --tier smoke" in out
    demo(json="-", report=None)
    assert json.loads(capsys.readouterr().out)["schema"] == "epochwise/demo/1"
