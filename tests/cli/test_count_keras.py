"""``epochwise count`` on Keras models that say something of their data, and not all."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.jax

MODELS = """
import keras


def open_sizes():
    layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, activation="softmax")]
    model = keras.Sequential([keras.Input((None, None, 3)), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def two_and_two():
    one, two = keras.Input((4,)), keras.Input((6,))
    both = keras.layers.Concatenate()([keras.layers.Dense(3)(one), keras.layers.Dense(2)(two)])
    model = keras.Model([one, two], [keras.layers.Dense(1, name="p")(both), keras.layers.Dense(5, name="q")(both)])
    model.compile("adam", ["mse", "mse"])
    return model
"""


def counted(folder, function, *options):
    """Exit code, standard output and standard error on one line."""
    file = folder / "models.py"
    file.write_text(MODELS)
    command = [sys.executable, "-m", "epochwise", "count", f"{file}:{function}", "--backend", "jax", *options]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, " ".join(done.stderr.split())


def test_open_sizes_are_named_with_the_option_that_gives_them(tmp_path):
    """Which axes, and an example that has the right number of sizes."""
    code, out, said = counted(tmp_path, "open_sizes")
    assert code != 0
    assert out == ""
    assert "axes 1 and 2 are open" in said
    assert "--input-shape 64,64,3" in said


def test_sizes_alone_are_enough_for_a_compiled_model(tmp_path):
    """Its loss says what the labels are. 14 x 10 places, 9 taps, 3 channels in and 4 out; 4 x 5 in the end."""
    code, out, said = counted(tmp_path, "open_sizes", "--input-shape", "16,12,3", "--json", "-")
    assert code == 0, said
    assert json.loads(out)["per_sample"]["forward_macs"] == 14 * 10 * 9 * 3 * 4 + 4 * 5


def test_a_model_with_several_inputs_and_outputs_needs_no_data(tmp_path):
    """The two in front are not charged an input gradient."""
    code, out, said = counted(tmp_path, "two_and_two", "--json", "-")
    assert code == 0, said
    forward = 4 * 3 + 6 * 2 + 5 * 1 + 5 * 5
    assert json.loads(out)["per_sample"]["forward_macs"] == forward
    assert json.loads(out)["per_sample"]["training_macs"] == 2 * forward + 5 * 1 + 5 * 5
