"""``epochwise compare``, ``count`` and ``demo`` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

FILE = """
import torch

def small():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))

def large():
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512), torch.nn.ReLU(),
        torch.nn.Linear(512, 10))
"""
RANDOM = ("--data", "random", "--input-shape", "8,8", "--classes", "10")


@pytest.fixture
def folder(tmp_path: Path, kept_machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's file of two PyTorch models; this computer's peaks are known."""
    monkeypatch.setenv("EPOCHWISE_CACHE", kept_machine["EPOCHWISE_CACHE"])
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "epochwise", *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert "defect" not in done.stderr
    return done


@pytest.mark.torch
def test_standard_output_is_the_json_alone_and_reports_are_written(folder: Path) -> None:
    """With --json - a program can read standard output; progress goes to standard error; files are made whole."""
    arguments = ("compare", "mine.py:small", "mine.py:large", *RANDOM, "--seconds", "1.5")
    done = run(folder, *arguments, "--json", "-", "--report", "r.html")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["schema"] == "epochwise/compare/1"
    assert [model["name"] for model in result["models"]] == ["small", "large"]
    assert result["backend"] == "pytorch"
    assert result["answer"].startswith("With plain PyTorch, ")
    assert "an epoch of large" in result["answer"]
    assert "loading" in done.stderr
    assert (folder / "r.html").read_text().lstrip().lower().startswith("<!doctype html")
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["mine.py", "r.html"]
    (folder / "r.json").write_text(done.stdout)
    assert "large against small: " in run(folder, "report", "r.json").stdout


@pytest.mark.torch
def test_nothing_is_written_over_others(folder: Path) -> None:
    """A file that exists is left alone without --force, before anything is measured."""
    (folder / "r.json").write_text("mine")
    refused = run(folder, "compare", "mine.py:small", "mine.py:large", *RANDOM, "--json", "r.json")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert "loading" not in refused.stderr
    assert (folder / "r.json").read_text() == "mine"


@pytest.mark.torch
def test_a_budget_too_small_names_one_that_works(folder: Path) -> None:
    """Exit code 2, what a block takes, and seconds that are enough."""
    done = run(folder, "compare", "mine.py:small", "mine.py:large", *RANDOM, "--seconds", "0.0001")
    assert done.returncode == 2
    assert "too few" in done.stderr
    assert "--seconds" in done.stderr


def until_measuring(process: subprocess.Popen[str]) -> None:
    """Read progress until blocks are being measured, and some have been."""
    assert process.stderr is not None
    lines = 0
    for line in process.stderr:
        lines += "in turn" in line
        if lines == 2:
            return
    raise AssertionError("measuring never began")


@pytest.mark.torch
def test_ctrl_c_delivers_what_was_measured(folder: Path) -> None:
    """Exit code 130, a valid result that says it was interrupted, and no process left."""
    arguments = ("compare", "mine.py:small", "mine.py:large", *RANDOM, "--seconds", "60", "--json", "r.json")
    with subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        until_measuring(process)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads((folder / "r.json").read_text())["measurement"]["interrupted"]
    assert not any(worker.is_running() for worker in workers)


@pytest.mark.torch
def test_a_worker_killed_in_the_midst_leaves_a_result(folder: Path) -> None:
    """Exit code 7; the message names the model, the signal and what was kept, and the file holds it."""
    arguments = ("compare", "mine.py:small", "mine.py:large", *RANDOM, "--seconds", "60", "--json", "r.json")
    with subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        until_measuring(process)
        victim = psutil.Process(process.pid).children(recursive=True)[-1]
        os.kill(victim.pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 7
    said = " ".join(errors.split())
    assert "'large' on pytorch was ended by signal 9 (SIGKILL)" in said
    assert "blocks of each model" in said
    assert json.loads((folder / "r.json").read_text())["ratio"]["median"] > 0


@pytest.mark.torch
def test_count_tells_the_fields_of_the_contract(folder: Path) -> None:
    """A plain module, by shapes alone; nothing but JSON on standard output."""
    done = run(folder, "count", "mine.py:large", "--input-shape", "8,8", "--classes", "10", "--json", "-")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    macs = 64 * 512 + 512 * 512 + 512 * 10
    assert result["per_sample"]["forward_macs"] == macs
    assert result["per_sample"]["training_macs"] == 3 * macs - 64 * 512
    assert result["parameters"] == {"trainable": macs + 512 + 512 + 10, "frozen": 0}
    assert {"parameters", "gradients", "optimizer", "activations", "peak"} == set(result["memory_bytes"])
    assert result["uncounted"] == []


@pytest.mark.jax
@pytest.mark.parametrize(
    ("model", "parameters", "forward", "training", "activations"),
    [("build_model_seq", 55_050, 54_912, 114_560, 138), ("build_model_cnn", 3_330, 238_736, 618_864, 14_698)],
)
def test_count_knows_the_questions_models(
    model: str, parameters: int, forward: int, training: int, activations: int, tmp_path: Path
) -> None:
    """The figures of the question, from the command line, without any data."""
    done = run(tmp_path, "count", f"epochwise.subjects.question:{model}", "--backend", "jax", "--json", "-")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["parameters"]["trainable"] == parameters
    per_sample = result["per_sample"]
    assert (per_sample["forward_macs"], per_sample["training_macs"]) == (forward, training)
    assert per_sample["activation_elements"] == activations


@pytest.mark.jax
def test_count_takes_a_model_that_knows_its_own_input(tmp_path: Path) -> None:
    """A model of keras.applications needs no option: its input is its own."""
    model = "keras.applications:MobileNetV2(weights=None, classes=7)"
    done = run(tmp_path, "count", model, "--backend", "jax", "--json", "-")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["layers"][0]["output_shape"] == [None, 112, 112, 32]
    assert result["uncounted"] == []


@pytest.mark.jax
@pytest.mark.fashion_mnist
def test_the_demo_answers_the_question(tmp_path: Path) -> None:
    """One backend, few seconds, the real data: figures, factors, three paragraphs, a page and a record."""
    done = run(tmp_path, "demo", "--backend", "jax", "--seconds", "12")
    assert done.returncode == 0, done.stderr
    for words in ("55,050", "3,330", "114,560", "618,864", "the ratio", "kernels", "waiting", "Why is it slower?"):
        assert words in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["schema"] == "epochwise/demo/1"
    assert len(result["comparisons"]) == 1
    assert (tmp_path / "report.html").stat().st_size > 10_000
    again = run(tmp_path, "report", "result.json")
    assert again.returncode == 0, again.stderr
    measured, heading, ours = done.stdout.partition("\n\nWhat the extra time buys\n")
    assert again.stdout.rstrip() == measured.rstrip()  # the experiments are no part of what was measured here
    assert heading
    assert "epochwise evidence" in ours
