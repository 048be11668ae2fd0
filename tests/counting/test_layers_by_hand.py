"""MACs of single layers, forward and both gradients, against closed forms from textbooks, worked out here and not by rules.

Keras layers on every backend (``layers_by_hand.py`` counts them, in one process for each) and modules of PyTorch. All figures
are for one sample. A tuple is (forward, weight gradient, input gradient); a single number stands for three alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from epochwise.counting import count

BACKENDS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("jax", "torch", "tensorflow")]
SCRIPT = Path(__file__).with_name("layers_by_hand.py")


@cache
def told(backend, *names):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, SCRIPT, *names], env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def sums(*parts):
    """The sum of parts, place by place; a number stands for three alike."""
    return tuple(sum(each) for each in zip(*((part,) * 3 if isinstance(part, int) else part for part in parts), strict=True))


def attention(queries, keys, features, value_features):
    """Scores ``Q K'`` and their use ``A V`` of one head: two products, each with a gradient for either factor, no weights.

    A causal mask takes nothing off: frameworks compute the whole square and the literature counts it (Vaswani et al. 2017).
    """
    forward = queries * keys * (features + value_features)
    return forward, 0, 2 * forward


def recurrent(steps, gates, given, hidden):
    """``steps`` times all gates: ``W x`` and ``U h``. The first step's ``h`` is a constant, which needs no gradient."""
    of_input, of_state = gates * given * hidden, gates * hidden * hidden
    return steps * (of_input + of_state), steps * (of_input + of_state), steps * of_input + (steps - 1) * of_state


def convolutional(steps, positions, taps, given, hidden):
    """The same with convolutions (Shi et al. 2015): four gates; the state's has padding, so it keeps its size."""
    of_input, of_state = positions * taps * given * 4 * hidden, positions * taps * hidden * 4 * hidden
    return steps * (of_input + of_state), steps * (of_input + of_state), steps * of_input + (steps - 1) * of_state


LORA = 6 * 3 * 8 / 4
"""Keras adds the product of both factors (6 x 3 and 3 x 8) to the kernel, once a step of 4 samples."""

CLOSED_FORMS = {
    "dense": 10 * 6 * 8,
    "dense without bias": 10 * 6 * 8,
    "dense with lora": (480 + LORA, 480 + 2 * LORA, 480),  # the gradient of the sum, and from it those of both factors
    "einsum dense": 10 * 6 * (3 * 2),
    "einsum dense over places": 10 * 6 * 4,
    "time distributed": 3 * 4 * 6 * 8,
    # positions out x taps x channels in x channels out
    "conv1d": 8 * 3 * 6 * 8,
    "conv1d same": 10 * 3 * 6 * 8,
    "conv1d causal dilated": 10 * 3 * 6 * 8,  # padded in front by the reach, 2 x (3 - 1)
    "conv1d stride": 4 * 3 * 6 * 8,  # floor((10 - 3) / 2) + 1
    "conv1d groups": 8 * 3 * (6 // 2) * 8,  # each output channel sees half of the input channels
    "conv2d": (10 * 9) * (3 * 2) * 6 * 8,
    "conv2d same": (12 * 10) * 9 * 6 * 8,
    "conv2d stride same": (6 * 4) * 9 * 6 * 8,  # ceil(12 / 2), ceil(10 / 3)
    "conv2d dilated": (8 * 6) * 9 * 6 * 8,  # three taps reach over five
    "conv2d groups stride": (5 * 4) * 9 * (6 // 2) * 8,
    "conv3d": (5 * 4 * 3) * 8 * 4 * 8,
    "conv3d same stride": (3 * 3 * 2) * 27 * 4 * 8,
    "conv3d groups": (5 * 4 * 3) * 8 * (4 // 2) * 8,
    # positions in x taps x channels in x channels out: each position that goes in is spread over the taps
    "conv1d transposed": 10 * 3 * 6 * 8,
    "conv2d transposed": (12 * 10) * 9 * 6 * 8,
    "conv2d transposed stride": (12 * 10) * 16 * 6 * 8,
    "conv3d transposed": (6 * 5 * 4) * 8 * 4 * 8,
    # each output channel has one input channel
    "depthwise1d": 8 * 3 * (6 * 2),
    "depthwise2d": (10 * 8) * 9 * (6 * 2),
    "separable1d": 8 * 3 * 6 + 8 * 6 * 8,  # depthwise, then pointwise
    "separable2d": (10 * 8) * 9 * 12 + (10 * 8) * 12 * 8,
    # four projections and two heads
    "self-attention": sums(4 * 10 * 6 * 8, *2 * [attention(10, 10, 4, 4)]),
    "causal self-attention": sums(4 * 10 * 6 * 8, *2 * [attention(10, 10, 4, 4)]),
    "cross-attention": sums(2 * 5 * 6 * 8, 2 * 7 * 6 * 8, *2 * [attention(5, 7, 4, 4)]),
    # four heads of queries, two of keys and values
    "grouped attention": sums(2 * 10 * 6 * (4 * 3), 2 * 10 * 6 * (2 * 3), *4 * [attention(10, 10, 3, 3)]),
    "dot-product attention": attention(5, 7, 6, 6),
    "additive attention": attention(5, 7, 0, 6),  # its scores are sums, not products of matrices (Bahdanau et al. 2015)
    "dot": attention(5, 7, 6, 0),
    "lstm": recurrent(10, 4, 6, 8),
    "lstm sequences": recurrent(10, 4, 6, 8),
    "gru": recurrent(10, 3, 6, 8),
    "simple rnn": recurrent(10, 1, 6, 8),
    "bidirectional": sums(*2 * [recurrent(10, 3, 6, 8)]),
    "convolutional lstm": convolutional(3, 4 * 3, 9, 4, 2),
    "embedding": 0,  # a row is looked up, not multiplied
    **dict.fromkeys(["batch normalisation", "layer normalisation", "group normalisation", "rms normalisation"], 0),
    **dict.fromkeys(["max pooling", "average pooling", "dropout", "prelu", "multiply"], 0),
}


QUICK = (
    *("dense with lora", "einsum dense over places", "conv1d groups", "conv3d groups", "conv3d transposed", "depthwise1d"),
    *("cross-attention", "grouped attention", "additive attention", "dot", "simple rnn", "rms normalisation"),
)
"""One of each kind; the others are counted by ``make test-long``."""


def in_keras(name):
    """What the closed form says, as the script tells it."""
    return {"macs": list(sums(CLOSED_FORMS[name])), "uncounted": []}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", QUICK)
def test_a_keras_layer_and_its_gradients_cost_what_the_textbook_says(name, backend):
    """Forward, weight gradient, input gradient; nothing is uncounted."""
    assert told(backend, *QUICK)[name] == in_keras(name)


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_every_keras_layer_costs_what_the_textbook_says(name, backend):
    """All fifty on every backend."""
    assert told(backend)[name] == in_keras(name)


@pytest.mark.long
@pytest.mark.jax
def test_every_layer_of_the_script_has_a_closed_form():
    """None is counted and not checked."""
    assert set(told("jax")) == set(CLOSED_FORMS)


# --- modules of PyTorch --------------------------------------------------------------------------------------------------

SPACE = {1: (10,), 2: (12, 10), 3: (6, 5, 4)}
"""Sizes of what goes into the convolutions, by their number of axes."""


def places(*sizes):
    """A batch of 4 with such sizes, and 6 features last."""
    return (4, *sizes, 6)


def space(axes):
    """A batch of 4 with 6 channels."""
    return (4, 6, *SPACE[axes])


def in_torch():
    """By name: shape of the batch; the module; how it is called, if not simply; the closed form."""
    from torch import nn

    def self_attention(module, x):
        return module(x, x, x)[0]

    def causal(module, x):
        mask = nn.Transformer.generate_square_subsequent_mask(10)
        return module(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0]

    def grouped(module, x):
        query, key = module(x).unflatten(-1, (6, 4)).transpose(1, 2).split([4, 2], 1)
        return nn.functional.scaled_dot_product_attention(query, key, key, enable_gqa=True)

    def twice(module, x):
        return module(x, x)

    def first(module, x):
        return module(x)[0]

    heads = sums(4 * 10 * 6 * 6, *2 * [attention(10, 10, 3, 3)])
    return {
        "Linear": (places(10), nn.Linear(6, 8), None, 10 * 6 * 8),
        "Bilinear": (places(), nn.Bilinear(6, 6, 8), twice, (6 * 6 * 8, 6 * 6 * 8, 2 * 6 * 6 * 8)),  # it takes two inputs
        "Conv1d": (space(1), nn.Conv1d(6, 8, 3, padding=1), None, 10 * 3 * 6 * 8),
        "Conv1d groups": (space(1), nn.Conv1d(6, 8, 3, groups=2, stride=2), None, 4 * 3 * 3 * 8),
        "Conv2d": (space(2), nn.Conv2d(6, 8, (3, 2)), None, (10 * 9) * 6 * 6 * 8),
        "Conv2d dilated": (space(2), nn.Conv2d(6, 8, 3, dilation=2), None, (8 * 6) * 9 * 6 * 8),
        "Conv2d depthwise": (space(2), nn.Conv2d(6, 12, 3, groups=6), None, (10 * 8) * 9 * 12),
        "Conv3d": (space(3), nn.Conv3d(6, 8, 2, stride=2), None, (3 * 2 * 2) * 8 * 6 * 8),
        "ConvTranspose1d": (space(1), nn.ConvTranspose1d(6, 8, 3, stride=2), None, 10 * 3 * 6 * 8),
        "ConvTranspose2d groups": (space(2), nn.ConvTranspose2d(6, 8, 3, stride=2, groups=2), None, 120 * 9 * 3 * 8),
        "ConvTranspose3d": (space(3), nn.ConvTranspose3d(6, 8, 2, stride=2, output_padding=1), None, 120 * 8 * 6 * 8),
        "MultiheadAttention": (places(10), nn.MultiheadAttention(6, 2, batch_first=True), self_attention, heads),
        "MultiheadAttention causal": (places(10), nn.MultiheadAttention(6, 2, batch_first=True), causal, heads),
        "grouped queries": (places(10), nn.Linear(6, 24), grouped, sums(10 * 6 * 24, *4 * [attention(10, 10, 4, 4)])),
        "LSTM": (places(10), nn.LSTM(6, 8, batch_first=True), first, recurrent(10, 4, 6, 8)),
        "GRU": (places(10), nn.GRU(6, 8, batch_first=True), first, recurrent(10, 3, 6, 8)),
        "GRU of both directions": (
            *(places(10), nn.GRU(6, 8, batch_first=True, bidirectional=True), first),
            sums(*2 * [recurrent(10, 3, 6, 8)]),
        ),
        "RNN": (places(10), nn.RNN(6, 8, batch_first=True), first, recurrent(10, 1, 6, 8)),
        "GRUCell": (places(), nn.GRUCell(6, 8), None, (3 * 8 * (6 + 8), 3 * 8 * (6 + 8), 3 * 8 * 6)),
        "LSTMCell": (places(), nn.LSTMCell(6, 8), first, (4 * 8 * (6 + 8), 4 * 8 * (6 + 8), 4 * 8 * 6)),
        "TransformerEncoderLayer": (
            places(10),
            nn.TransformerEncoderLayer(6, 2, 16, batch_first=True),
            None,
            sums(heads, 2 * 10 * 6 * 16),
        ),
        "BatchNorm2d": (space(2), nn.BatchNorm2d(6), None, 0),
        "LayerNorm": (places(10), nn.LayerNorm(6), None, 0),
        "GroupNorm": (space(2), nn.GroupNorm(3, 6), None, 0),
        "RMSNorm": (places(10), nn.RMSNorm(6), None, 0),
        "MaxPool2d": (space(2), nn.MaxPool2d(2), None, 0),
    }


IN_TORCH = """
    Linear,Bilinear,Conv1d,Conv1d groups,Conv2d,Conv2d dilated,Conv2d depthwise,Conv3d,ConvTranspose1d,ConvTranspose2d groups,
    ConvTranspose3d,MultiheadAttention,MultiheadAttention causal,grouped queries,LSTM,GRU,GRU of both directions,RNN,GRUCell,
    LSTMCell,TransformerEncoderLayer,BatchNorm2d,LayerNorm,GroupNorm,RMSNorm,MaxPool2d
"""


@pytest.mark.torch
@pytest.mark.parametrize("name", [name.strip() for name in IN_TORCH.split(",")])
def test_a_module_and_its_gradients_cost_what_the_textbook_says(name):
    """The module stands behind a learnt shift, so that it needs the gradient of its input; nothing is uncounted."""
    import torch

    class Behind(torch.nn.Module):
        def __init__(self, shape, inner, call):
            super().__init__()
            self.shift, self.inner = torch.nn.Parameter(torch.zeros(shape[1:])), inner
            self.call = call or (lambda module, x: module(x))

        def forward(self, x):
            return self.call(self.inner, x + self.shift)

    shape, module, call, expected = in_torch()[name]
    module = Behind(shape, module, call)
    x = torch.zeros(shape)
    counts = count(module, 4, x, module(x).detach())
    table = counts.layers
    got = [sum(getattr(row, f"{role}_macs") for row in table) for role in ("forward", "weight_gradient", "input_gradient")]
    assert tuple(got) == sums(expected)
    assert counts.uncounted == ()
