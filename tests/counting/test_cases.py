"""Questions asked in public: what the counts alone say of both sides, on every backend, against closed forms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("cases_counted.py")
BACKENDS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("jax", "torch", "tensorflow")]


@cache
def told(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=BACKENDS)
def counted(request):
    return told(request.param)


def totals(counts):
    return counts["per_sample"]["forward_macs"], counts["per_sample"]["training_macs"]


def row(counts, kind):
    (found,) = [row for row in counts["layers"] if row["kind"] == kind]
    return found


def test_a_cnn_and_an_mlp(counted):
    """0.17 times the weights, 16.3 times the MACs forward, 20.3 times in training, 97 % of them in the second convolution."""
    mlp, cnn = counted["cnn_and_mlp:mlp"], counted["cnn_and_mlp:cnn"]
    assert mlp["parameters"]["trainable"] == 785 * 512 + 513 * 512 + 513 * 10 == 669_706
    assert cnn["parameters"]["trainable"] == 10 * 32 + (9 * 32 + 1) * 64 + (12 * 12 * 64 + 1) * 10 == 110_986
    first, second, last = 26 * 26 * 9 * 32, 24 * 24 * 9 * 32 * 64, 12 * 12 * 64 * 10
    assert totals(cnn) == (first + second + last, 2 * first + 3 * (second + last))
    one, two, three = 784 * 512, 512 * 512, 512 * 10
    assert totals(mlp) == (one + two + three, 2 * one + 3 * (two + three))
    ratios = [b / a for a, b in zip(totals(mlp), totals(cnn), strict=True)]
    assert ratios == pytest.approx([16.3, 20.3], rel=0.005)
    assert second / totals(cnn)[0] == pytest.approx(0.97, abs=0.005)


def test_a_depthwise_convolution(counted):
    """16 times fewer MACs in the layer than the ordinary convolution with 16 filters has."""
    dense, depthwise = row(counted["depthwise:dense"], "Conv2D"), row(counted["depthwise:depthwise"], "DepthwiseConv2D")
    assert dense["forward_macs"] == 62 * 62 * 9 * 3 * 16 == 16 * depthwise["forward_macs"]
    assert dense["weight_gradient_macs"] == 16 * depthwise["weight_gradient_macs"]
    assert dense["input_gradient_macs"] == depthwise["input_gradient_macs"] == 0


def test_a_grouped_convolution(counted):
    """8 times fewer MACs, and as many bytes but for the weights."""
    dense, grouped = (row(counted[f"grouped:{name}"], "Conv2D") for name in ("dense", "grouped"))
    assert dense["forward_macs"] == 32 * 32 * 9 * 64 * 64 == 8 * grouped["forward_macs"]
    assert dense["weight_gradient_macs"] == 8 * grouped["weight_gradient_macs"]
    assert dense["forward"]["bytes"] - grouped["forward"]["bytes"] == 9 * 64 * (64 - 8) * 4


@pytest.mark.parametrize("name", ["plain", "with_dropout"])
def test_an_lstm(counted, name):
    """Each kernel for each of the 64 turns; what crosses the layer's border once, whatever the loop inside does."""
    found = row(counted[f"recurrent_dropout:{name}"], "LSTM")
    assert found["forward_macs"] == 64 * 4 * 64 * (32 + 64)
    assert found["weight_gradient_macs"] == found["forward_macs"]
    inputs, outputs, weights = 32 * 64 * 32 * 4, 32 * 64 * 4, 4 * 64 * (32 + 64 + 1) * 4
    assert found["forward"]["bytes"] == inputs + weights + outputs
    assert found["backward"]["bytes"] == outputs + (inputs + outputs) + weights


def test_dropout_in_the_loop_changes_no_multiply_accumulate(counted):
    """The asker's slow side has the same arithmetic: the cause lies elsewhere."""
    plain, dropped = (row(counted[f"recurrent_dropout:{name}"], "LSTM") for name in ("plain", "with_dropout"))
    figures = ("forward_macs", "weight_gradient_macs", "input_gradient_macs")
    assert [plain[key] for key in figures] == [dropped[key] for key in figures]
    assert plain["forward"]["bytes"] == dropped["forward"]["bytes"]
    assert plain["forward"]["other_flops"] < dropped["forward"]["other_flops"]
