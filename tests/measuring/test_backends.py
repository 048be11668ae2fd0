"""Every backend, for real: a small model is trained, timed and profiled, and its layers are found in the profile."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

FILE = """
import time
import tensorflow as tf

def small(input_shape, output_shape):
    layers = tf.keras.layers
    return tf.keras.Sequential([
        layers.Input(input_shape), layers.Flatten(), layers.Dense(32, activation="relu"),
        layers.Dense(output_shape, activation="softmax")])

def convolution(input_shape, output_shape):
    layers = tf.keras.layers
    return tf.keras.Sequential([
        layers.Input(input_shape), layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(),
        layers.Dense(output_shape, activation="softmax")])
"""

CODE = """
import sys
from epochwise.explaining.compare import compare_named
from epochwise.explaining.loads import loads_for
from epochwise.subjects.datasets import DataSpec

file, backend = sys.argv[1:]
data = DataSpec("random", (12, 12, 1), 5, samples=960)
loads = loads_for([file + ":small", file + ":convolution"], data, backend=backend, batch_size=32, seed=0)
print(compare_named(loads, 1.5).to_json())
"""


@pytest.mark.alone
@pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "jax", "torch")]
)
def test_a_comparison_adds_up_on(backend: str, tmp_path: Path, kept_machine: dict[str, str]) -> None:
    """The file against tf.keras runs unmodified; factors, parts and causes add up; every layer is in the profile."""
    (tmp_path / "user.py").write_text(FILE)
    command = [sys.executable, "-c", CODE, str(tmp_path / "user.py"), backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=kept_machine)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["backend"] == backend
    ratio = result["ratio"]
    assert ratio["low"] <= ratio["median"] <= ratio["high"]
    assert math.isclose(math.prod(factor["ratio"] for factor in result["factors"]), ratio["median"], rel_tol=1e-9)
    assert [factor["name"] for factor in result["factors"]] == ["parameters", "reuse", "memory", "kernels", "waiting"]
    for model, layers in zip(result["models"], ({"dense", "dense_1"}, {"conv2d", "max_pooling2d", "dense"}), strict=True):
        epoch = model["epoch_seconds"]["median"]
        assert math.isclose(math.fsum(part["seconds"] for part in model["where"]), epoch, rel_tol=1e-9)
        assert math.isclose(math.fsum(cause["seconds"] for cause in model["causes"]), epoch, rel_tol=1e-9)
        assert model["factors"]["waiting"] >= 1
        assert model["factors"]["memory"] >= 1
        assert 0 < model["busy_seconds"]["median"] <= epoch
        named = {part["name"].rstrip("_0123456789") for part in model["where"] if part["phase"] is not None}
        assert {layer.rstrip("_0123456789") for layer in layers} <= named
        phases = {part["phase"] for part in model["where"]}
        # TensorFlow does not record cheap operations, and those of plain SGD are cheap.
        assert {"forward", "backward", *(["update"] if backend != "tensorflow" else [])} <= phases
        unattributed = next(part for part in model["where"] if part["name"] == "unattributed")
        assert abs(unattributed["share"]) < 0.1
        assert model["measurement"]["profile"]["steps"] > 0
        assert model["counts"]["uncounted"] == []


READ_BY_SEVERAL = """
import keras
from keras import layers

def model(input_shape, output_shape):
    images = keras.Input(input_shape)
    x = layers.Conv2D(64, 1)(images)
    x = layers.Add()([layers.Activation(kind)(x) for kind in ("relu", "tanh", "elu", "sigmoid")])
    x = layers.Conv2D(1024, 3)(layers.MaxPooling2D(4)(x))
    return keras.Model(images, layers.Dense(output_shape)(layers.Flatten()(x)))
"""

EXPLAINED = """
import sys
from epochwise.explaining.explain import explain_named
from epochwise.explaining.loads import loads_for
from epochwise.subjects.datasets import DataSpec

file, backend = sys.argv[1:]
(load,) = loads_for([file + ":model"], DataSpec("random", (12, 12, 1), 5, samples=960), backend=backend, batch_size=32, seed=0)
print(explain_named(load, 1.5).to_json())
"""


@pytest.mark.alone
@pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "jax", "torch")]
)
def test_sums_of_gradients_belong_to_layers_on(backend: str, tmp_path: Path, kept_machine: dict[str, str]) -> None:
    """Where several layers read a tensor, and where a gradient is copied to its weight, frameworks tell of no layer."""
    (tmp_path / "user.py").write_text(READ_BY_SEVERAL)
    command = [sys.executable, "-c", EXPLAINED, str(tmp_path / "user.py"), backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=kept_machine)
    assert done.returncode == 0, done.stderr
    model = json.loads(done.stdout)["model"]
    assert abs(next(part["share"] for part in model["where"] if part["name"] == "unattributed")) < 0.01
