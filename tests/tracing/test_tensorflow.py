"""What is in a trace of a Keras step on TensorFlow; the steps are in ``steps_on_keras.py`` and are traced in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def told():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    script = Path(__file__).with_name("steps_on_keras.py")
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_of_the_model_changes(told):
    """Weights, metrics, optimizer and seeds, to the bit; also after an error."""
    assert told["changed"] == []
    assert told["changed_by_error"] == []


def test_every_optimizer_of_keras_is_traced(told):
    """Clipping, averaging, accumulation and loss scaling included; nothing uncounted."""
    assert told["optimizers"] == {}


def test_a_step_of_its_own_is_traced(told):
    """A custom train_step with its own tape and loss."""
    assert told["custom_step"]["uncounted"] == []
    assert told["custom_step"]["training_macs"] == 12 * 2 + 6 * 3


def test_a_layer_that_runs_again_in_the_backward_pass_is_one_call(told):
    """Under keras.RematScope."""
    assert told["checkpointed"] == [1, 20, 20, 20, 4 * (20 + 20 + 20)]


def test_a_step_that_decides_by_data_is_refused(told):
    """With the line that works."""
    assert told["decides"][0] == "TracingError"


def test_the_body_of_a_loop_is_listed_once_with_its_trip_count(told):
    """Five turns forward and five backward."""
    assert told["looped"]["times"] == [["Tanh", 5], ["TanhGrad", 5]]
    assert told["looped"]["uncounted"] == []


def test_a_loop_whose_end_depends_on_data_is_listed_as_unknown(told):
    """Its work is in no figure, and said to be."""
    assert ["Tanh", None] in told["open"]["uncounted"]


def test_of_a_condition_the_dearer_branch_is_taken_and_that_is_noted(told):
    """A sentence for the reader."""
    assert any("branch" in note for note in told["chosen"]["notes"])
    assert told["chosen"]["uncounted"] == []
