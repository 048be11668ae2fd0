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
PLAIN = """
    mlp cnn conv_valid conv_same conv_stride conv_stride_same conv_dilated conv_dilated_same conv_dilated_odd
    conv1d_dilated depthwise_dilated conv3d_dilated transposed_dilated conv_grouped
    conv_grouped_stride conv1d conv1d_causal conv3d conv_bias_relu depthwise depthwise_stride_same separable separable1d
    transposed transposed_stride transposed_stride_same transposed1d dense einsum_dense attention group_attention
    batch_norm layer_norm group_norm rms_norm dropout dropout_seeded embedding average_pool max_pool_same up_sampling
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
    assert counts == reference
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
