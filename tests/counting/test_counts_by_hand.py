"""Counts of real models, on every backend, against closed forms worked out by hand.

Each backend counts all models in one process of its own; see ``models_by_hand.py``. All figures are per sample. A convolution
has min(input, output positions) x taps x channels in x channels out / groups, and so have its two gradients.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

BACKENDS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("jax", "torch", "tensorflow")]
SCRIPT = Path(__file__).with_name("models_by_hand.py")


@cache
def told(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=BACKENDS)
def counted(request):
    return told(request.param)


def rows(counts):
    return {row["name"]: row for row in counts["layers"]}


def macs(row):
    return row["forward_macs"], row["weight_gradient_macs"], row["input_gradient_macs"]


def test_the_mlp_of_the_question_is_counted_exactly(counted):
    """55,050 parameters, 54,912 forward and 114,560 training MACs, 138 activation elements; nothing uncounted."""
    counts = counted["question_mlp"]
    assert counts["parameters"] == {"trainable": 55_050, "frozen": 0}
    assert counts["per_sample"]["forward_macs"] == 28 * 28 * 64 + 64 * 64 + 64 * 10 == 54_912
    assert counts["per_sample"]["training_macs"] == 2 * 28 * 28 * 64 + 3 * (64 * 64 + 64 * 10) == 114_560
    assert counts["per_sample"]["activation_elements"] == 64 + 64 + 10
    assert counts["uncounted"] == []


def test_the_cnn_of_the_question_is_counted_exactly(counted):
    """3,330 parameters, 238,736 forward and 618,864 training MACs, 14,698 activation elements; nothing uncounted."""
    counts = counted["question_cnn"]
    assert counts["parameters"] == {"trainable": 3_330, "frozen": 0}
    assert counts["per_sample"]["forward_macs"] == 26 * 26 * 9 * 16 + 11 * 11 * 9 * 16 * 8 + 200 * 10 == 238_736
    assert counts["per_sample"]["training_macs"] == 618_864
    assert counts["per_sample"]["activation_elements"] == 26 * 26 * 16 + 13 * 13 * 16 + 11 * 11 * 8 + 5 * 5 * 8 + 10
    assert counts["uncounted"] == []


def test_the_first_layer_is_not_charged_an_input_gradient(counted):
    """Nothing in front of the first convolution learns, so the gradient of its input is never computed."""
    table = rows(counted["question_cnn"])
    assert macs(table["first"]) == (97_344, 97_344, 0)
    assert macs(table["second"]) == (139_392, 139_392, 139_392)


def test_per_sample_counts_that_grow_with_the_batch_are_whole_numbers(counted):
    """MACs of a model whose work all grows with the batch are integers, not floats that happen to be whole."""
    sample = counted["question_cnn"]["per_sample"]
    assert all(isinstance(sample[name], int) for name in ("forward_macs", "training_macs", "activation_elements"))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("strided", 4 * 4 * 9 * 3 * 4),  # 9x9 by 3x3, stride 2, no padding: 4x4
        ("same", 5 * 5 * 9 * 3 * 4),  # with padding: 5x5, and padding counts like data
        ("dilated", 8 * 8 * 9 * 4 * 8),  # 3 taps reach over 5: 8x8
        ("grouped", 6 * 6 * 9 * 8 * 8 // 4),
        ("depthwise", 6 * 6 * 9 * 8 * 8 // 8),
        ("transposed", 5 * 5 * 9 * 4 * 6),  # once for each position that goes in, not for the 10x10 that come out
        ("one_dimension", 8 * 3 * 3 * 4),
        ("three_dimensions", 4 * 4 * 4 * 8 * 2 * 3),
        ("einsum_dense", 6 * 5 * 7),
        ("mixer", 6 * 5 * 7),
    ],
)
def test_a_layer_and_both_its_gradients_cost_what_its_closed_form_says(counted, model, expected):
    """Forward, weight gradient and input gradient all equal the closed form, whatever the backend lowers them to."""
    row = rows(counted[model])["x"]
    assert macs(row) == (expected, expected, expected)
    assert counted[model]["uncounted"] == []


def test_products_of_activations_have_two_input_gradients_and_no_weight_gradient(counted):
    """Attention without weights: two products of 5 x 3 x 5, and each has a gradient for either factor."""
    assert macs(rows(counted["self_attention"])["x"]) == (2 * 75, 0, 4 * 75)


def test_attention_is_counted_by_its_parts(counted):
    """Projections 6 x 8 x 8 on rows of their own; scores and weighted sums, 2 heads x 6 x 6 x 4 each, in the layer's row."""
    table = rows(counted["attention"])
    for part in ("query", "key", "value", "attention_output"):
        assert macs(table[f"heads/{part}"]) == (384, 384, 384)
    assert macs(table["heads"]) == (2 * 2 * 6 * 6 * 4, 0, 4 * 2 * 6 * 6 * 4)


def test_a_product_of_two_weights_has_weight_gradients_only(counted):
    """``x (A B)``: A B costs 6 x 2 x 7 once a step, shared by 8 samples, and its two gradients are gradients of weights."""
    once = 6 * 2 * 7 / 8
    assert macs(rows(counted["low_rank"])["x"]) == (once + 42, 2 * once + 42, 42)


def test_a_gradient_that_is_only_summed_into_a_bias_is_an_input_gradient(counted):
    """The gradient of a dense layer's input, in front of which there is but a bias, is not mistaken for one of its weights."""
    assert macs(rows(counted["shift"])["x"]) == (12, 12, 12)


def test_a_frozen_layer_has_no_weight_gradient(counted):
    """It is still charged the gradient of its input, which the layer in front of it needs."""
    table = rows(counted["frozen"])
    assert macs(table["frozen"]) == (25, 0, 25)
    assert counted["frozen"]["parameters"] == {"trainable": 37, "frozen": 30}
    assert table["frozen"]["update"] == {"macs": 0, "other_flops": 0, "bytes": 0}


def test_a_shared_layer_is_one_row_with_the_work_of_all_its_calls(counted):
    """Two calls: twice the MACs and the activations, once the parameters."""
    row = rows(counted["shared"])["shared"]
    assert (row["calls"], row["parameters"], macs(row), row["activation_elements"]) == (2, 30, (50, 50, 50), 10)


def test_a_tied_weight_is_counted_once_and_its_second_use_is_charged(counted):
    """An embedding used again as the last layer: 4 x 6 x 11 for each of the three products, no parameters of its own."""
    row = rows(counted["tied"])["logits"]
    assert (row["parameters"], macs(row)) == (0, (264, 264, 264))
    assert counted["tied"]["parameters"]["trainable"] == 11 * 6 + 6 * 6 + 6


def test_layers_are_named_as_the_user_named_them(counted):
    """``encoder/a``: the inner model's name, then the layer's; the model's own name is not part of it."""
    assert {"encoder/a", "encoder/b", "head"} <= set(rows(counted["nested"]))


def test_work_done_directly_in_the_model_has_a_row_named_after_the_model(counted):
    """The sum of a residual connection and what a subclassed model does between its layers."""
    assert rows(counted["residual"])["residual"]["activation_elements"] == 8 * 8 * 4
    row = rows(counted["subclassed"])["subclassed"]
    assert row["activation_elements"] == 4
    assert row["forward"]["other_flops"] > 0


@pytest.mark.parametrize("layer", ["reshape", "permute", "flatten"])
def test_layers_that_only_give_another_shape_write_and_move_nothing(counted, layer):
    """Reshape, Permute and Flatten have no activations and move no bytes, though some backend may copy."""
    found = [row for row in counted["shapes"]["layers"] if row["name"].startswith(layer)]
    assert len(found) == 1
    assert found[0]["activation_elements"] == 0
    assert found[0]["forward"]["bytes"] == found[0]["backward"]["bytes"] == 0


def test_an_embedding_reads_of_its_table_only_what_it_looks_up(counted):
    """6 numbers of 4 bytes in, 6 x 8 x 4 bytes read of the table and as many written, for 8 samples."""
    assert rows(counted["embedding"])["x"]["forward"]["bytes"] == 8 * (6 * 4 + 2 * 6 * 8 * 4)


def test_bytes_at_the_borders_of_a_dense_layer(counted):
    """64 x 64 with bias, 8 samples: each term of the convention, and the same on every backend."""
    inputs = outputs = 8 * 64 * 4
    weights = (64 * 64 + 64) * 4
    row = rows(counted["question_mlp"])["b"]
    assert row["forward"]["bytes"] == inputs + weights + outputs
    assert row["backward"]["bytes"] == outputs + (inputs + outputs) + weights + inputs + weights
    assert row["update"]["bytes"] == 3 * weights


def test_the_first_layer_moves_no_weights_again_and_no_input_gradient(counted):
    """Backward of the first layer: gradient of the output, input and output again, gradients of the weights."""
    inputs, outputs, weights = 8 * 784 * 4, 8 * 64 * 4, (784 * 64 + 64) * 4
    assert rows(counted["question_mlp"])["a"]["backward"]["bytes"] == outputs + (inputs + outputs) + weights


def test_an_optimizer_with_slots_reads_and_writes_each_of_them(counted):
    """Adam keeps two numbers for each weight: 3 + 2 x 2 times the weights' bytes."""
    row = next(row for row in counted["noisy"]["layers"] if row["kind"] == "Dense")
    assert row["update"]["bytes"] == 7 * 35 * 4
    memory = counted["noisy"]["memory_bytes"]
    assert memory["optimizer"] >= 2 * counted["noisy"]["parameters"]["trainable"] * 4
    assert memory["gradients"] == counted["noisy"]["parameters"]["trainable"] * 4


def test_an_operation_without_a_rule_is_listed_and_not_counted_as_nothing(counted):
    """A QR decomposition: it is in ``uncounted``, with the layer it is in."""
    found = [entry for entry in counted["orthogonal"]["uncounted"] if "qr" in entry["operation"].lower()]
    assert found
    assert all(entry["layer"] == "x" and entry["reason"] == "no rule" and entry["times"] >= 1 for entry in found)


def test_the_totals_are_the_sums_of_the_rows(counted):
    """For every model and every total."""
    for name, counts in counted.items():
        total, table = counts["per_sample"], counts["layers"]
        assert total["forward_macs"] == pytest.approx(sum(row["forward_macs"] for row in table)), name
        trained = sum(sum(macs(row)) for row in table)
        assert total["training_macs"] == pytest.approx(trained), name
        assert total["activation_elements"] == sum(row["activation_elements"] for row in table), name
        flops = sum(
            2 * row[phase]["macs"] + row[phase]["other_flops"] for row in table for phase in ("forward", "backward", "update")
        )
        assert total["training_flops"] == pytest.approx(flops / 8), name
        assert sum(counts["parameters"].values()) == sum(row["parameters"] for row in table), name


def test_counting_leaves_the_model_bit_for_bit_as_it_was(counted):
    """Weights, moving averages, metrics, optimizer and random state, and Keras itself."""
    changed = [name for name, counts in counted.items() if not (counts["unchanged"] and counts["unwrapped"])]
    assert changed == []


@pytest.mark.jax
@pytest.mark.torch
@pytest.mark.tensorflow
def test_the_backends_agree_to_the_integer():
    """MACs and activations of every row, and bytes of every layer, are the same on JAX, PyTorch and TensorFlow."""
    own = lambda row: not row["name"].startswith("(")  # noqa: E731

    def figures(backend):
        return {
            model: {
                row["kind"] + str(place): (
                    *macs(row),
                    row["activation_elements"],
                    row["forward"]["bytes"],
                    row["backward"]["bytes"],
                )
                for place, row in enumerate(filter(own, counts["layers"]))
            }
            for model, counts in told(backend).items()
            if model != "orthogonal"  # its decomposition's gradient is another program on each
        }

    assert figures("jax") == figures("torch") == figures("tensorflow")
