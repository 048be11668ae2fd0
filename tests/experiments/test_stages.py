"""The forward pass in float64: Keras's own to rounding, exact under shifts, with the blind strip that arithmetic predicts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochwise.experiments.data import on_canvas
from epochwise.experiments.models import LAYERS
from epochwise.experiments.stages import Stage, forward, shift_error

SIDE = 42
NAMES = ("mlp", "cnn", "cnn_blur", "cnn_16_64_gap", "cnn_16_64_gmp_full")

_KERAS = """
import sys
import numpy as np
import keras
from epochwise.experiments.models import ours
from epochwise.experiments.models.keras import build

for name in sys.argv[2:]:
    for side in (28, 42):
        model = build(ours(name), (side, side, 1), 10, seed=5)
        x = np.random.default_rng(side).random((3, side, side, 1), np.float32)
        model.layers[-1].activation = keras.activations.linear
        weights = {f"w{number}": weight for number, weight in enumerate(model.get_weights())}
        np.savez(f"{sys.argv[1]}/{name}-{side}.npz", x=x, logits=np.asarray(model(x)), **weights)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Weights, images and logits of Keras, of models as they are drawn."""
    pytest.importorskip("jax")
    folder = tmp_path_factory.mktemp("built")
    environment = {"KERAS_BACKEND": "jax", "PATH": "", "PYTHONPATH": ":".join(sys.path), "HOME": str(folder)}
    command = [sys.executable, "-c", _KERAS, str(folder), *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def loaded(folder, name, side):
    """Images, logits and weights in Keras's order."""
    with np.load(folder / f"{name}-{side}.npz") as kept:
        weights = [kept[f"w{number}"] for number in range(len(kept.files) - 2)]
        return kept["x"], kept["logits"], weights


@pytest.mark.jax
@pytest.mark.parametrize("side", [28, SIDE])
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_keras(built, name, side):
    """To the rounding of float32, by either way of adding up."""
    x, logits, weights = loaded(built, name, side)
    exact = forward(LAYERS[name], weights, x)[-1]
    assert exact.name == "logits"
    np.testing.assert_allclose(exact.values, logits, rtol=0, atol=2e-6)
    fast = forward(LAYERS[name], weights, x, exact=False)[-1]
    np.testing.assert_allclose(fast.values, exact.values, rtol=0, atol=1e-12)


@pytest.mark.jax
def test_maps_follow_shifts_of_whole_strides_to_the_last_bit_and_a_flattened_head_does_not(built):
    """Convolution at every pixel, poolings at 2 and 4; the mean over the last map is then the same to rounding."""
    objects = np.random.default_rng(1).random((4, 14, 14, 1)).astype(np.float32)
    still, moved = (on_canvas(objects, np.array((12, 12 + shift)), SIDE) for shift in (0, 4))
    aside = on_canvas(objects, np.array((12, 13)), SIDE)

    def errors(name, images, shift):
        weights = loaded(built, name, SIDE)[2]
        pairs = zip(forward(LAYERS[name], weights, still), forward(LAYERS[name], weights, images), strict=True)
        return {before.name: shift_error(before, after, shift).max() for before, after in pairs}

    by_four, by_one = errors("cnn", moved, 4), errors("cnn", aside, 1)
    assert [by_four[stage] for stage in ("conv 1", "pool 1", "conv 2", "pool 2")] == [0.0] * 4
    assert by_four["logits"] > 0.01
    assert by_one["conv 1"] == 0.0
    assert min(by_one[stage] for stage in ("pool 1", "conv 2", "pool 2", "logits")) > 0.01
    assert errors("cnn_16_64_gap", moved, 4)["logits"] < 1e-13


@pytest.mark.jax
def test_two_rows_and_columns_of_28_are_never_seen(built):
    """The second pooling drops what would see them: 108 of 784 pixels; a canvas of 42 has none."""
    for side, blind in ((28, 108), (SIDE, 0)):
        x, _, weights = loaded(built, "cnn", side)
        seen = forward(LAYERS["cnn"], weights, x)[-1].values
        other = x.copy()
        edge = 2 if side == 28 else 1
        other[:, -edge:] += 1
        other[:, :, -edge:] += 1
        changed = np.abs(forward(LAYERS["cnn"], weights, other)[-1].values - seen).max()
        assert (changed == 0) == (blind > 0)


def test_a_shift_that_is_no_whole_stride_is_held_against_the_better_neighbour():
    """A map of stride 2 under a shift of 3 may have moved by one place or by two."""
    values = np.random.default_rng(0).random((2, 5, 8, 3))
    before, after = Stage("pool 1", values, 2), Stage("pool 1", np.roll(values, 2, axis=2), 2)
    assert shift_error(before, after, 3).tolist() == [0.0, 0.0]
    assert shift_error(before, after, 2).min() > 0


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.data())
def test_what_a_map_holds_whole_moves_along_to_the_last_bit(data):
    """Objects of any size, anywhere: where a map ends before all that sees them, it may differ, and nowhere else."""
    side = data.draw(st.integers(14, 30))
    size = data.draw(st.integers(1, side // 2))
    first = data.draw(st.integers(0, side - size))
    shift = data.draw(st.integers(0, side - size - first))
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=shape) for shape in ((3, 3, 2, 3), (3,), (3, 3, 3, 2), (2,), (2, 4), (4,))]
    objects = generator.random((2, size, size, 2)).astype(np.float32)
    still, moved = (on_canvas(objects, np.array((3, at)), side) for at in (first, first + shift))
    layers = [["conv", 3, "valid"], ["pool"], ["conv", 2, "valid"], ["pool"], ["gmp"], ["classes"]]
    for before, after in zip(forward(layers, weights, still), forward(layers, weights, moved), strict=True):
        held = before.stride and all(before.holds(at, at + size - 1) for at in (first, first + shift))
        if held and shift % before.stride == 0:
            assert not shift_error(before, after, shift).any()


def test_what_a_place_of_a_map_sees():
    """By arithmetic, with and without padding; a blurred map begins before the image."""
    weights = [np.zeros(shape) for shape in ((3, 3, 1, 1), (1,), (3, 3, 1, 1), (1,))]
    seen = {}
    for padding in ("valid", "full"):
        layers = [["conv", 1, padding], ["pool"], ["conv", 1, padding], ["pool"]]
        seen[padding] = [(each.begins, each.sees) for each in forward(layers, weights, np.zeros((1, 42, 42, 1)))]
    assert seen == {"valid": [(0, 3), (0, 4), (0, 8), (0, 10)], "full": [(-2, 3), (-2, 4), (-6, 8), (-6, 10)]}
    blurred = [["conv", 1, "valid"], ["blur-pool"]]
    last = forward(blurred, [*weights[:2], np.zeros(1)], np.zeros((1, 42, 42, 1)))[-1]
    assert (last.begins, last.sees) == (-1, 6)


def test_a_layer_without_stages_is_refused():
    """No shift is said of a layer whose places have nothing in common."""
    with pytest.raises(ValueError, match="local"):
        forward(LAYERS["lcn"], [], np.zeros((1, 28, 28, 1)))
