"""Every public layer of Keras is counted alike on all backends; the models are in ``every_layer.py``."""

from __future__ import annotations

import pytest

from tests.counting.backends import differences, workers

pytestmark = [pytest.mark.jax, pytest.mark.torch, pytest.mark.tensorflow, pytest.mark.long]


@pytest.fixture(scope="module")
def ask():
    with workers() as asked:
        yield asked


@pytest.fixture(scope="module")
def listed(ask):
    """What ``every_layer.py`` lists; asked of a worker, because listing needs Keras."""
    return ask({"list": "layers"})["jax"]


def test_every_public_layer_is_tried_or_named_with_the_reason(listed):
    """Keras may get new ones: they must be put on one of the lists."""
    assert listed["missing"] == []


def test_backends_agree_on_every_layer(ask, listed):
    """Parameters and MACs of forward and both gradients, to the integer, and nothing uncounted."""
    wrong = {name: differences(ask({"every": name})) for name in listed["same"]}
    assert {name: lines for name, lines in wrong.items() if lines} == {}
    assert len(wrong) >= 110
