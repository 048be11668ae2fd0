"""One model, three backends, the same counts: MACs of each layer forward and backward, weights, activations.

Each backend counts all of ``small_models.py`` in one process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("small_models.py")
OTHERS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "torch")]
RECURRENT = """
    lstm lstm_sequences lstm_first gru gru_sequences simple_rnn bidirectional conv_lstm conv_lstm_2d recurrent_dropout
    stacked_cells unrolled masked_lstm masked_gru masked_simple_rnn
"""
SAME = ("parameters", "forward_macs", "training_macs", "activation_elements", "layers", "uncounted")
BACKENDS = [pytest.param("jax"), *OTHERS]
PLAIN = """
    mlp cnn conv_valid conv_same conv_stride conv_stride_same conv_dilated conv_dilated_same conv_dilated_odd
    conv1d_dilated depthwise_dilated conv3d_dilated transposed_dilated conv_grouped
    conv_grouped_stride conv1d conv1d_causal conv3d conv_bias_relu depthwise depthwise_stride_same separable separable1d
    transposed transposed_stride transposed_stride_same transposed1d dense einsum_dense attention group_attention
    batch_norm layer_norm group_norm rms_norm dropout dropout_seeded embedding average_pool max_pool_same up_sampling resized
    activations prelu shared residual frozen frozen_first concatenate two_in_two_out nested subclassed own_step regularized
    time_distributed several_steps compiled float16 bfloat16 adam adamw momentum rmsprop clipped schedule accumulated
    accumulated_adam
"""

pytestmark = pytest.mark.jax


@cache
def told(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def without_activations(counts):
    """What a loop hands on from run to run is its framework's affair; MACs and weights are not."""
    return {name: (*figures[:3], figures[4]) for name, figures in counts["layers"].items()}


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", PLAIN.split())
def test_backends_agree_on_every_layer(name, backend):
    """Weights, uses of each, forward, weight-gradient and input-gradient MACs and activations by layer; all is counted."""
    counts, reference = told(backend)[name], told("jax")[name]
    assert "error" not in counts, counts["error"]
    assert {key: counts[key] for key in SAME} == {key: reference[key] for key in SAME}
    assert counts["uncounted"] == []


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", RECURRENT.split())
def test_backends_agree_on_recurrent_layers(name, backend):
    """MACs and weights layer by layer, a cell's on its layer: loops on JAX and TensorFlow, step after step on PyTorch."""
    counts, reference = told(backend)[name], told("jax")[name]
    assert "error" not in counts, counts["error"]
    assert without_activations(counts) == without_activations(reference)
    for figure in ("parameters", "forward_macs", "training_macs", "uncounted"):
        assert counts[figure] == reference[figure]
    assert counts["uncounted"] == []


def test_a_cell_that_keras_calls_once_more_on_pytorch_is_counted_as_often_as_elsewhere():
    """By hand: 7 steps of 6 x 5 + 5 x 5, whatever a backend runs besides to see what a step gives."""
    assert told("jax")["simple_rnn"]["forward_macs"] == 7 * (6 * 6 + 6 * 5 + 5 * 5)


def test_settings_of_fit_change_no_macs():
    """Several steps in one call, compilation, gradients gathered over steps: a step multiplies as much as before."""
    counts = told("jax")
    assert counts["several_steps"] == counts["compiled"]
    assert counts["compiled"]["training_macs"] == 30 + 10 + 30 + 10 + 10
    assert counts["accumulated"]["training_macs"] == counts["momentum"]["training_macs"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_adam_does_for_a_weight_is_on_the_row_of_its_layer(backend):
    """By hand 3 for the mean, 4 for the square, 5 for the step, and 1 more on PyTorch; what is left are single numbers."""
    updates = dict(told(backend)["adam"]["updates"])
    each = 13 if backend == "torch" else 12
    assert [updates["dense"], updates["dense_1"]] == [each * 80, each * 63]
    assert updates["(optimizer)"] < 63


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_step_that_updates_is_counted_where_gradients_are_gathered(backend):
    """No step of the two is without Adam's work: that is a branch, and the larger one counts, with a note that says so."""
    gathered, plain = told(backend)["accumulated_adam"], told(backend)["adam"]
    assert all(gathered["updates"][name] > plain["updates"][name] for name in ("dense", "dense_1"))
    assert any("branches" in note for note in gathered["notes"])


@pytest.mark.parametrize("backend", OTHERS)
def test_a_layer_that_branches_on_its_weight_is_counted_on_every_backend(backend):
    """Also on PyTorch, where Python would have to look at the weight; its gradient goes elsewhere on JAX."""
    counts, reference = told(backend)["spectral"], told("jax")["spectral"]
    assert counts["forward_macs"] == reference["forward_macs"]
    inner, expected = (found["layers"]["spectral_normalization/dense"][:5] for found in (counts, reference))
    assert inner == expected == [7 * 30, 7 * 30, 7 * 30, 7 * 5, 6 * 5 + 5]
    assert counts["training_macs"] == told("tensorflow")["spectral"]["training_macs"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["attention", "einsum_dense", "conv_dilated", "time_distributed"])
def test_layers_of_known_shapes_have_no_notes(backend, name):
    """Nothing is guessed: a note about sizes would be about tensors that hold shapes, and change no figure."""
    assert told(backend)[name]["notes"] == []


def test_weights_are_on_the_row_of_the_layer_that_works_with_them():
    """``TimeDistributed`` does the work of the layer in it without calling it: 7 steps of 6 x 3, its 21 weights."""
    layers = told("jax")["time_distributed"]["layers"]
    assert layers["time_distributed"][0] == 7 * 6 * 3
    assert layers["time_distributed"][4:] == [6 * 3 + 3, 7]
    assert not [name for name in layers if name.startswith("time_distributed/")]
