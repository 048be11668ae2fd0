"""What is said of Keras models that cannot be counted; they are in ``faults_on_keras.py``, one process for each backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("faults_on_keras.py")
BACKENDS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("jax", "torch", "tensorflow")]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


@cache
def told(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_open_sizes_are_named_with_the_option_that_gives_them(backend):
    """Which axes, and a line that works; with data the model is counted: 7 x 6 positions of 3 x 3 x 3 x 3."""
    image, sequence = told(backend)["open_image"], told(backend)["open_sequence"]
    assert image["error"] == sequence["error"] == "ModelDoesNotFitError"
    assert "axes 1 and 2 are open" in image["what"]
    assert "--input-shape 64,64,3 " in image["remedy"]
    assert "axis 1 is open" in sequence["what"]
    assert "--input-shape 64,5 " in sequence["remedy"]
    assert "epochwise.count(model, x=x, y=y)" in image["remedy"]
    assert told(backend)["open_image_with_data"] == 7 * 6 * 9 * 3 * 3


@pytest.mark.parametrize(
    ("name", "kind", "layer"),
    [
        ("wrong", "ModelDoesNotFitError", "mine"),
        ("nested", "ModelDoesNotFitError", "inner/deep"),
        ("buggy", "ModelFailedError", "mine"),
    ],
)
def test_the_layer_that_raises_is_named(backend, name, kind, layer):
    """By its path, also inside a nested model, with what it said and the usual cause."""
    fault = told(backend)[name]
    assert fault["error"] == kind
    assert f"\nLayer: {layer}\nLine: " in fault["what"]
    assert fault["cause"]
    assert ("99" if name != "buggy" else "KeyError on float32[4, 6]: no such head\n") in fault["what"]


@pytest.mark.parametrize("name", ["numbers", "decides"])
def test_a_layer_that_needs_the_numbers_of_its_data_is_refused(backend, name):
    """With the usual cause and what to write instead; not as if the shape were wrong."""
    fault = told(backend)[name]
    assert fault["error"] == "TracingError"
    assert "depend" in fault["what"]
    assert "where" in fault["remedy"]
