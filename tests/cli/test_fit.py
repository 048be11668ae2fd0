"""``epochwise fit``, for real on small random data."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile

import h5py
import pytest

pytestmark = pytest.mark.jax
COMMAND = [sys.executable, "-m", "epochwise", "fit"]
SHAPE = ["--data", "random", "--input-shape", "4,4,1", "--classes", "3"]
FILE = """
import keras
from keras import layers

def mlp(input_shape, output_shape, activation="relu"):
    return keras.Sequential([
        keras.Input(input_shape), layers.Flatten(), layers.Dense(8, activation=activation),
        layers.Dense(output_shape, activation="softmax")])

def data():
    import numpy as np
    generator = np.random.default_rng(0)
    y = generator.integers(3, size=700)
    x = (y[:, None, None, None] + generator.normal(0, 0.1, (700, 4, 4, 1))).astype("float32")
    return (x[:600], y[:600]), (x[600:], y[600:])
"""


@pytest.fixture
def user(tmp_path):
    (tmp_path / "user.py").write_text(FILE)
    return tmp_path


def run(folder, *arguments):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "80"}
    command = [*COMMAND, *arguments, "--backend", "jax"]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=folder, env=environment)


def test_training_is_told_saved_and_repeatable(user):
    """A line per epoch; JSON with the fields that users rely on; a model that goes on; the same again with the same seed."""
    options = ["user.py:mlp", "--data", "user.py:data", "--epochs", "4", "--validation-split", "0.1", "--batch-size", "16"]
    done = run(user, *options, "--json", "out.json", "--save", "out.keras", "--report", "out.html")
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert "val. accuracy" in done.stdout
    assert "loading the data" in done.stderr
    record = json.loads((user / "out.json").read_text())
    assert record["schema"] == "epochwise/fit/1"
    assert record["parameters"] == 16 * 8 + 8 + 8 * 3 + 3
    assert len(record["epochs"]) == 4
    assert all(epoch["seconds"] > 0 for epoch in record["epochs"])
    assert record["epochs"][-1]["loss"] < record["epochs"][0]["loss"]
    assert record["test"]["accuracy"] > 0.5  # guessing has a third
    assert record["samples"] == 540
    assert record["threads"] >= 1
    assert "mlp, trained" in (user / "out.html").read_text()
    again = run(user, *options, "--json", "-")
    second = json.loads(again.stdout)
    assert [epoch["loss"] for epoch in second["epochs"]] == [epoch["loss"] for epoch in record["epochs"]]
    assert second["test"] == record["test"]
    on = run(user, "out.keras", "--data", "user.py:data", "--epochs", "1", "--json", "-")
    assert on.returncode == 0, on.stderr
    assert json.loads(on.stdout)["epochs"][0]["loss"] < record["epochs"][0]["loss"]


def test_interrupted(user):
    """Ctrl-C ends it with the usual exit code; what was trained until then is saved, with the optimizer's count of steps."""
    options = ["user.py:mlp", "--data", "user.py:data", "--epochs", "1000000", "--batch-size", "16", "--save", "out.keras"]
    command = [*COMMAND, *options, "--backend", "jax"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=user) as process:
        told = ""
        while "epoch" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=280)[1]
    assert process.returncode == 130
    assert told.endswith("Interrupted.\n")
    steps = int(re.search(r"out.keras holds the model as of its last finished step, the ([\d,]+)th", told)[1].replace(",", ""))
    with zipfile.ZipFile(user / "out.keras") as file, h5py.File(io.BytesIO(file.read("model.weights.h5"))) as weights:
        assert int(weights["optimizer/vars/0"][()]) == steps > 0


def test_what_is_not_covered_is_refused_by_name_or_trained_by_keras(user):
    """Exit code 2 with layer and option; with ``--fallback`` a note says who trained."""
    model = "user.py:mlp(activation='silu')"
    done = run(user, model, *SHAPE)
    assert done.returncode == 2
    assert "dense: activation silu" in done.stderr
    assert "fallback" in done.stderr
    done = run(user, model, "--data", "user.py:data", "--epochs", "1", "--fallback", "--json", "-")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["engine"], record["threads"]) == ("keras", None)
    assert any("silu" in note for note in record["notes"])
    assert record["test"]["accuracy"] is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--save", "model.h5"], "ends in .keras"),
        (["--save", "there.keras"], "exists already"),
        (["--epochs", "0"], "epochs"),
    ],
)
def test_refused_before_any_work(user, arguments, said):
    """No file is touched, and nothing is trained."""
    (user / "there.keras").write_text("mine")
    done = run(user, "user.py:mlp", *SHAPE, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert (user / "there.keras").read_text() == "mine"


def test_what_jax_compiles_is_kept_beside_the_kernels(user, tmp_path, monkeypatch):
    """The programs that draw weights are read by the next process, give the same numbers, and are made again where spoilt."""
    monkeypatch.setenv("EPOCHWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)

    def losses():
        done = run(user, "user.py:mlp", "--data", "user.py:data", "--epochs", "1", "--json", "-")
        assert done.returncode == 0, done.stderr
        return [epoch["loss"] for epoch in json.loads(done.stdout)["epochs"]]

    first = losses()
    kept = list((tmp_path / "cache" / "jax").glob("*-cache"))
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert any("uniform" in path.name for path in kept)
    assert losses() == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "jax").glob("*-cache")} == before
    for path in kept:
        path.write_bytes(path.read_bytes()[:50])
    assert losses() == first


def test_a_users_own_cache_of_jax_stays_in_use(user, tmp_path, monkeypatch):
    """``JAX_COMPILATION_CACHE_DIR`` is respected."""
    monkeypatch.setenv("EPOCHWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
    assert run(user, "user.py:mlp", "--data", "user.py:data", "--epochs", "1").returncode == 0
    assert not (tmp_path / "cache" / "jax").exists()
