"""How often each weight is used, in a sentence."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from epochwise.explaining.reuse import reuse_sentence, sample_word
from tests.reporting import samples


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (samples.mlp(), "The forward pass uses each weight once per image."),
        (
            samples.cnn(),
            "Per image, the forward pass uses each weight of conv2d 676 times, of conv2d_1 121 times and of dense once.",
        ),
        (samples.counts("nothing", []), None),
    ],
)
def test_the_questions_models(counts, sentence):
    """Pixels use a convolution's weights again and again, a dense layer's once."""
    assert reuse_sentence(counts) == sentence


def test_layers_that_are_used_equally_often_are_taken_together():
    """And those that hold little of the MACs and of the weights are left out: the classifier here."""
    assert reuse_sentence(samples.nested()) == (
        "Per sample, the forward pass uses each weight of encoder/attention/query and encoder/attention/key 20 times"
        " and of encoder/ffn/wide and encoder/ffn/narrow 40 times."
    )
    rows = [samples.layer(f"conv_{number}", "Conv2D", (4, 4, 4), 10, 160, uses=16) for number in range(5)]
    text = reuse_sentence(samples.counts("deep", [*rows, samples.layer("dense", "Dense", (4,), 40, 40, uses=1)]))
    assert "of conv_0 and 4 other layers 16 times and of dense once" in text


def test_a_mean_is_called_one():
    """Where weights of one layer are not all used equally often."""
    rows = [samples.layer("odd", "Odd", (4,), 3, 10, uses=10 / 3)]
    assert reuse_sentence(samples.counts("odd", rows)) == "The forward pass uses each weight 3.33 times on average per image."


def test_a_layer_whose_name_is_a_number_has_its_kind_beside_it():
    """As in a plain sequence of modules."""
    rows = [samples.layer("0", "Conv2d", (9,), 9, 81, uses=9), samples.layer("1.0", "Linear", (9,), 9, 9, uses=1)]
    assert "of 0 (Conv2d) 9 times and of 1.0 (Linear) once" in reuse_sentence(samples.counts("m", rows))


@pytest.mark.parametrize(
    ("shape", "word"),
    [((None, 28, 28, 1), "image"), ((None, 3, 224, 224), "image"), ((None, 16, 16, 64), "sample"), ((None, 20), "sample")],
)
def test_what_a_sample_is(shape, word):
    """Two sides and 1, 3 or 4 channels make an image; no shape makes a sample."""
    assert sample_word(replace(samples.cnn(), input_shape=shape)) == word
    assert sample_word(replace(samples.cnn(), input_shape=None)) == "sample"
