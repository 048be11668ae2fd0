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
RECURRENT = ["lstm", "lstm_sequences", "lstm_first", "gru", "gru_sequences", "bidirectional"]
PLAIN = """
    mlp cnn conv_valid conv_same conv_stride conv_stride_same conv_dilated conv_dilated_same conv_grouped
    conv_grouped_stride conv1d conv1d_causal conv3d conv_bias_relu depthwise depthwise_stride_same separable separable1d
    transposed transposed_stride transposed_stride_same transposed1d dense einsum_dense attention group_attention
    batch_norm layer_norm group_norm rms_norm dropout dropout_seeded embedding average_pool max_pool_same up_sampling
    activations prelu shared residual frozen frozen_first concatenate adam adamw momentum rmsprop clipped schedule
"""

pytestmark = pytest.mark.jax


@cache
def told(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def by_outermost_layer(counts):
    """MACs and weights with inner layers added to the outermost one: backends do not all call a recurrent layer's cell."""
    sums = {}
    for name, (forward, weight, given, _, parameters, _) in counts["layers"].items():
        row = sums.setdefault(name.split("/")[0], [0, 0, 0, 0])
        sums[name.split("/")[0]] = [a + b for a, b in zip(row, (forward, weight, given, parameters), strict=True)]
    return sums


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", PLAIN.split())
def test_backends_agree_on_every_layer(name, backend):
    """Weights, uses of each, forward, weight-gradient and input-gradient MACs and activations by layer; all is counted."""
    counts, reference = told(backend)[name], told("jax")[name]
    assert "error" not in counts, counts["error"]
    assert counts == reference
    assert counts["uncounted"] == []


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", RECURRENT)
def test_backends_agree_on_recurrent_layers(name, backend):
    """MACs and weights of the whole layer: loops on JAX and TensorFlow, one step after the other on PyTorch."""
    counts, reference = told(backend)[name], told("jax")[name]
    assert "error" not in counts, counts["error"]
    assert by_outermost_layer(counts) == by_outermost_layer(reference)
    assert counts["training_macs"] == reference["training_macs"]
    assert counts["uncounted"] == []


@pytest.mark.tensorflow
@pytest.mark.torch
def test_pytorch_runs_the_cell_of_a_custom_recurrent_layer_once_more():
    """Keras on PyTorch calls the cell a first time to see what it gives, and so executes 8 steps for 7; the others drop it."""
    a_step = 5 * 6 + 5 * 5
    assert told("tensorflow")["simple_rnn"]["forward_macs"] == told("jax")["simple_rnn"]["forward_macs"] == 7 * (6 * 6 + a_step)
    assert told("torch")["simple_rnn"]["forward_macs"] == 7 * (6 * 6 + a_step) + a_step
