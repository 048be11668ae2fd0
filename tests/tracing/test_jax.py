"""What is in a trace of a Keras step on JAX; the steps are in ``steps_on_jax.py`` and are traced in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.jax


@pytest.fixture(scope="module")
def told():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    script = Path(__file__).with_name("steps_on_jax.py")
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def operations(step, **wanted):
    return [entry for entry in step["operations"] if all(entry[key] == value for key, value in wanted.items())]


def test_the_body_of_a_scan_is_listed_once_with_its_length(told):
    """Five turns: one ``tanh`` with ``times`` 5, forward and backward alike."""
    assert [entry["times"] for entry in operations(told["scan"], name="tanh", layer="x")] == [5]
    backward = operations(told["scan"], name="mul", layer="x", phase="backward")
    assert backward
    assert {entry["times"] for entry in backward} == {5}


def test_a_loop_that_counts_to_a_fixed_end_has_a_trip_count(told):
    """From 1 by 2 while below 9: four turns."""
    assert [entry["times"] for entry in operations(told["counted_loop"], name="tanh")] == [4]


def test_a_loop_whose_end_depends_on_data_has_no_trip_count(told):
    """``times`` is unknown, not 1."""
    assert [entry["times"] for entry in operations(told["open_loop"], name="tanh")] == [None]


def test_of_a_condition_the_dearer_branch_is_taken_and_that_is_noted(told):
    """Its operations are there, and a sentence for the reader."""
    assert operations(told["branched"], name="exp", layer="x")
    assert any("branch" in note for note in told["branched"]["notes"])


def test_what_the_step_does_not_need_is_left_out(told):
    """XLA would remove it too."""
    assert not operations(told["unused"], name="exp", layer="x")


def test_operations_are_told_by_layer_and_phase(told):
    """Forward in its call, backward in the call that it differentiates, update in the optimizer."""
    step = told["custom_step"]
    assert len(operations(step, name="dot_general", layer="one", phase="forward")) == 1
    assert len(operations(step, name="dot_general", layer="one", phase="backward")) == 1
    assert len(operations(step, name="dot_general", layer="two", phase="backward")) == 2
    assert {entry["layer"] for entry in step["operations"] if entry["phase"] == "update"} == {"(optimizer)"}


def test_a_custom_train_step_is_what_is_traced(told):
    """Its loss is on ``(loss)``, and its own arithmetic outside any layer."""
    step = told["custom_step"]
    assert operations(step, layer="(loss)", phase="forward")
    assert operations(step, name="mul", layer=None, phase="forward")
    assert all(step["gradients"].values())


def test_checkpointed_work_is_marked_as_done_again(told):
    """The product of the layer is taken once forward and once more, marked, in the backward pass."""
    again = operations(told["checkpointed"], name="dot_general", layer="again", recomputed=True)
    assert [entry["phase"] for entry in again] == ["backward"]
    assert not operations(told["checkpointed"], layer="first", recomputed=True)


def test_a_layer_computed_again_through_the_same_callable_keeps_all_its_work(told):
    """JAX has seen the callable while the model was built and in the call before: neither takes away a product or a call."""
    step = told["recomputed_twice"]
    layer = "again/inner"
    assert len(operations(step, name="dot_general", layer=layer, phase="forward")) == 2
    assert len(operations(step, name="dot_general", layer=layer, recomputed=True)) == 2
    assert len(operations(step, name="dot_general", layer=layer, phase="backward", recomputed=False)) == 4
    assert [borders for borders in step["calls"] if borders[0] == layer] == [[layer, 1, 1]] * 2


def test_what_jax_remembers_of_a_trace_is_not_left_to_the_user(told):
    """JAX traces the step that was traced here as if it had not been: a Dense, one computed again, and one more."""
    assert told["left_to_jax"] == 2 + 4 + 3


def test_layers_inside_a_loop_are_told_by_name(told):
    """A recurrent layer is called once, and its cell has no row; the cells stacked in that have.

    Each product is taken in all 7 time steps; the gradient with respect to the first state, which nobody needs, is not taken.
    """
    assert [call[0] for call in told["recurrent"]["calls"]].count("x") == 1
    assert {call[0] for call in told["recurrent"]["calls"] if call[0].startswith("x/")} == {"x/lstm_cell", "x/gru_cell"}
    products = operations(told["recurrent"], name="dot_general", layer="x/lstm_cell")
    assert [entry["times"] for entry in products if entry["phase"] == "forward"] == [7, 7]
    assert sorted(entry["times"] for entry in products if entry["phase"] == "backward") == [6, 7, 7]


def test_masks_survive_the_marks(told):
    """A mask hangs on the tensor that a layer gives; the layer behind it still finds it."""
    assert operations(told["masked"], name="select_n", layer="x", phase="forward")


def test_every_call_knows_what_goes_in_and_comes_out(told):
    """One tensor each for a dense layer."""
    assert ["one", 1, 1] in told["custom_step"]["calls"]


def test_weights_know_their_layer_and_their_gradient(told):
    """And the optimizer's variables are told from them."""
    step = told["momentum"]
    assert set(step["owners"].values()) == {path for path in step["layers"] if path.startswith("dense")}
    assert all(step["gradients"].values())
    assert sorted(map(tuple, step["optimizer_state"])) == [(), (), (3,), (4, 3)]


def test_labels_are_made_to_fit_the_loss(told):
    """Class numbers for a sparse loss, one for each place; otherwise what the model gives."""
    assert told["sparse"]["inputs"] == [[[8, 5, 4], "float32"], [[8, 5], "int32"]]
    assert told["momentum"]["inputs"] == [[[8, 4], "float32"], [[8, 3], "float32"]]


@pytest.mark.parametrize(
    ("step", "error", "says"),
    [
        ("not_compiled", "TracingError", "model.compile("),
        ("open_shape", "ModelDoesNotFitError", "count(model, x=x, y=y)"),
        ("unknown_shape", "ModelDoesNotFitError", "--input-shape"),
        ("other_shape", "ModelDoesNotFitError", "[8, 7]"),
        ("no_array", "ModelDoesNotFitError", "numpy.asarray"),
        ("step_fails", "TracingError", "cannot trace"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_a_remedy(told, step, error, says):
    """Each with an error of its own kind, and Keras is put back."""
    assert told[step]["error"] == error
    assert says in told[step]["text"]
    assert "What works:" in told[step]["text"]
    assert told[step]["put_back"]
