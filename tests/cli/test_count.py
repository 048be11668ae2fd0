"""``epochwise count`` from the command line: one model and several, every output, and what it says of wrong requests."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from epochwise.cli.app import app
from epochwise.reporting.layers import COLUMNS
from epochwise.reporting.records import load

ROOT = Path(__file__).parents[2]
SEQ, CNN = (f"{ROOT}/examples/question_torch.py:build_model_{name}" for name in ("seq", "cnn"))
KERAS = [f"examples/question.py:build_model_{name}" for name in ("seq", "cnn")]
BACKENDS = [
    pytest.param("jax", marks=pytest.mark.jax),
    pytest.param("torch", marks=[pytest.mark.torch, pytest.mark.long]),
    pytest.param("tensorflow", marks=[pytest.mark.tensorflow, pytest.mark.long]),
]


def run(*arguments, width="80"):
    """In this process, for plain modules and for what ends before a model is loaded."""
    words = ["count", *map(str, arguments)]
    return CliRunner().invoke(app, words, env={"COLUMNS": width, "TERMINAL_WIDTH": width})


def run_apart(*arguments, width="80"):
    """In a process of its own, which Keras binds to its backend."""
    command = [sys.executable, "-m", "epochwise", "count", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": width, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.torch
def test_one_model_in_every_form(tmp_path):
    """Terminal, JSON, CSV and page of one run say the same; files that are there are left, without --force."""
    outputs = {name: tmp_path / f"r.{name}" for name in ("json", "csv", "report")}
    options = [part for name, path in outputs.items() for part in (f"--{name}", path)]
    done = run(CNN, *options)
    assert done.exit_code == 0, done.stderr
    assert "618,864 MACs" in done.stdout
    record = load(outputs["json"])
    assert record.per_sample.training_macs == 618_864
    assert record.input_shape == (None, 1, 28, 28)
    rows = list(csv.DictReader(io.StringIO(outputs["csv"].read_text())))
    assert [row["layer"] for row in rows] == [row.name for row in record.layers]
    assert sum(int(row["forward_macs_per_sample"]) for row in rows) == record.per_sample.forward_macs
    assert rows[0]["uses_per_weight"] == "676"
    assert "676 times" in outputs["report"].read_text()
    again = run(CNN, *options)
    assert again.exit_code == 2
    assert "exists already" in " ".join(again.stderr.split())


@pytest.mark.torch
@pytest.mark.parametrize(("option", "first"), [("--json", "{\n"), ("--csv", "model,backend,"), ("--report", "<!doctype html>")])
def test_data_on_standard_output_is_alone(option, first):
    """Nothing before and nothing after it."""
    done = run(CNN, option, "-")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(first)
    assert "what a training step costs\n" not in done.stdout.partition("<html")[0]
    if option == "--json":
        json.loads(done.stdout)


@pytest.mark.torch
def test_several_models_side_by_side(tmp_path):
    """Their totals with ratios, then the layers of each; the record is read again by ``load`` and drawn by ``report``."""
    done = run(
        SEQ, CNN, "--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv", "--sort", "macs", "--columns", "macs,bytes"
    )
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "build_model_cnn  by macs" in done.stdout
    ratios = {total.name: total.ratios[1] for total in load(tmp_path / "r.json").totals}
    assert ratios["parameters"] == 3_330 / 55_050
    assert ratios["training_macs_per_sample"] == 618_864 / 114_560
    models = [row["model"] for row in csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text()))]
    assert list(dict.fromkeys(models)) == ["build_model_seq", "build_model_cnn"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_layers_have_the_names_that_they_have_alone(backend):
    """Keras numbers layers on in one process; the second model's do not begin with ``dense_3``."""
    done = run_apart(*KERAS, "--backend", backend, "--json", "-")
    assert done.returncode == 0, done.stderr
    second = json.loads(done.stdout)["models"][1]
    assert [row["name"] for row in second["layers"] if not row["name"].startswith("(")] == [
        *("conv2d", "max_pooling2d", "conv2d_1", "max_pooling2d_1", "flatten", "dense")
    ]
    assert [row["uses_per_weight"] for row in second["layers"]][:6] == [676, None, 121, None, None, 1]
    assert second["backend"] == backend


@pytest.mark.torch
def test_memory_and_optimizer():
    """Adam's two numbers for each weight; the batch that fits, and one that does not fit at all."""
    told = json.loads(run(CNN, "--optimizer", "adam", "--memory", "64MiB", "--json", "-").stdout)
    assert told["memory_bytes"]["optimizer"] == 2 * 4 * 3_330 + 6 * 4  # and a step counter for each of 6 tensors
    fit = told["largest_batch"]
    assert fit["peak_bytes"] <= 64 * 2**20 < fit["next_peak_bytes"]
    counted = json.loads(run(CNN, "--optimizer", "adam", "--batch-size", fit["batch_size"] + 1, "--json", "-").stdout)
    assert counted["memory_bytes"]["peak"] == fit["next_peak_bytes"]
    done = run(CNN, "--memory", "1kB")
    assert done.exit_code == 0
    assert "Not even a batch of 1 fits into 1 kB" in done.stdout


def test_a_batch_that_is_refused_while_the_largest_is_looked_for(tmp_path):
    """The counts are shown all the same, with the batch that the model does not take and why."""
    path = tmp_path / "pairs.py"
    path.write_text(
        "import torch\n"
        "class Pairs(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        if len(x) % 2:\n"
        "            raise ValueError('pairs are needed')\n"
        "        return super().forward(x.flatten(1))\n"
        "def build_model():\n"
        "    return Pairs(784, 10)\n"
    )
    done = run(f"{path}:build_model", "--input-shape", "28,28", "--classes", "10", "--memory", "1MiB")
    assert done.exit_code == 0, done.stdout
    assert "7,840 MACs" in done.stdout
    assert "The largest batch was not found" in done.stdout
    assert "pairs are needed" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([CNN, "--json", "-", "--csv", "-"], "Two outputs cannot both go to standard output"),
        ([CNN, "--json", "x", "--csv", "x"], "x is named twice"),
        ([CNN, "--memory", "much"], "--memory 'much' is not a size of memory"),
        ([CNN, "--sort", "mac"], "Did you mean macs?"),
        ([CNN, "--columns", "macs,,bytes"], "there is no ''"),
        ([CNN, "--depth", "0"], "depth"),
        ([], "MODEL"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(arguments, said):
    """Exit code 2, at once, and nothing is written."""
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())
    assert not (ROOT / "x").exists()


@pytest.mark.torch
def test_an_optimizer_that_there_is_not():
    """With those that there are."""
    done = run(CNN, "--optimizer", "adamm")
    assert done.exit_code == 2
    assert "PyTorch has no optimizer 'adamm'" in done.stderr
    assert "Did you mean adam?" in done.stderr


def test_help_names_every_column_and_is_quick():
    """All that --columns takes; under 0.3 s on a quiet computer, the best of three under a second on any."""
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        done = run_apart("--help", width="120")
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 1.0
    text = " ".join(done.stdout.replace("│", " ").split())
    assert all(f"{name}," in text or f"{name}." in text for name in COLUMNS)
