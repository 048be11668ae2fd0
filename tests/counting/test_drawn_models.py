"""Architectures that nobody chose: drawn by Hypothesis, counted on three backends, the same to the integer."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.counting import drawn_models
from tests.counting.backends import differences, workers

pytestmark = [pytest.mark.jax, pytest.mark.torch, pytest.mark.tensorflow]


@pytest.fixture(scope="module")
def ask():
    with workers() as asked:
        yield asked


def _agree(ask, description):
    wrong = differences(ask(description))
    assert wrong == [], "\n".join([*wrong, json.dumps(description)])


def check(ask, examples):
    kept = settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a failure prints its description; shrinking would build hundreds of models
    )
    kept(given(drawn_models.architectures())(_agree))(ask)


def test_backends_agree_on_drawn_architectures(ask):
    """Weights, forward MACs and both gradients of each row, the totals, and nothing uncounted."""
    check(ask, 15)


@pytest.mark.long
def test_backends_agree_on_200_drawn_architectures(ask):
    """The same for many more."""
    check(ask, 200)


@pytest.mark.parametrize("layer", drawn_models.NAMES)
@pytest.mark.long
def test_backends_agree_on_each_layer_that_can_be_drawn(ask, layer):
    """Every layer once for sure, on the first input that it suits."""
    plain = {"units": 3, "kernel": [2, 3, 1], "strides": 2, "dilation": 2, "groups": 2, "padding": "same", "bias": True}
    step = {**plain, "layer": layer, "activation": "relu", "trainable": True, "last": False, "inner": [], "other": []}
    kind = next(kind for kind, suits in drawn_models.KINDS.items() if layer in suits)
    whole = {"input": kind, "second_input": False, "second_output": False, "steps": [step, step], "optimizer": "sgd"}
    assert differences(ask(whole)) == []
