"""A training run as a trial: the same bits each time, whatever is looked at meanwhile, and the same as Keras to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

_RUN = """
import json, sys
import numpy as np
from epochwise.experiments import exact
from epochwise.experiments.data import images
from epochwise.experiments.models import ours
from epochwise.experiments.training import train, unpacked

source = sys.argv[1]
loaded = images(source)
view = {"side": 18, "offsets": [[0, 0], [6, 8], [10, 10]], "fresh": True}
usual = {
    "model": ours("cnn"), "seed": 3, "backend": "torch", "trainer": "engine", "learning_rate": 0.05, "batch_size": 32,
    "steps": 40, "validate_every": 0, "test_at": [20, 40], "best": False, "test_images": None, "keep_weights": True,
    "positions": None,
    "data": {"source": source, "digest": loaded.digest, "validation": 50, "samples": None, "permutation": 0, "view": None},
}
def run(**changes):
    data = usual["data"] | changes.pop("data", {})
    return train(usual | changes | {"data": data})

def weights(outcome):
    return [array for name, array in sorted(outcome.arrays.items()) if name.startswith("last_")]

def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))

found = {}
plain, watched = run(), run(validate_every=7, best=True)
found["again"] = same(plain, run())
found["watched"] = same(plain, watched)
found["another seed"] = same(plain, run(seed=4))
found["moved, watched"] = same(run(data={"view": view}), run(data={"view": view}, validate_every=7))
found["validation"] = watched.numbers["validation"]["steps"]
best = watched.numbers["best"]
found["best"] = best["validation"] == max(watched.numbers["validation"]["accuracy"])
bits = unpacked(plain.arrays["correct"], plain.numbers["test"]["images"])
found["bits"] = np.array_equal(bits.mean(axis=1), plain.numbers["test"]["accuracy"])
found["accuracy"] = plain.numbers["test"]["accuracy"]
twin = run(trainer="keras")
found["engines"] = [plain.engine, twin.engine]
found["apart"] = max(float(np.abs(a - b).max()) for a, b in zip(weights(plain), weights(twin), strict=True))
found["disagree"] = int((bits != unpacked(twin.arrays["correct"], bits.shape[1])).sum())
there = run(data={"view": view | {"offsets": [[4, 2]]}}, positions={"offsets": [[4, 2], [0, 10]], "images": 100})
found["in place"] = [there.numbers["positions"][0], there.numbers["test"]["accuracy"][-1]]
for name in ("mlp", "cnn"):
    numbers = exact.permutation({**usual, "model": ours(name), "steps": 30}).numbers
    found[f"exact {name}"] = numbers.get("largest")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """What one process finds."""
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    generator = np.random.default_rng(0)
    y = np.arange(700) % 3
    x = generator.integers(0, 120, (700, 16, 16), np.uint8)
    for number in range(3):
        x[y == number, 4 * number : 4 * number + 3] += 100
    np.savez(path, x_train=x[:600], y_train=y[:600], x_test=x[600:], y_test=y[600:])
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.torch
class TestOneRun:
    """Found once, by one process."""

    def test_the_same_description_gives_the_same_bits(self, found):
        """And another seed gives others."""
        assert found["again"]
        assert not found["another seed"]

    def test_looking_on_changes_nothing(self, found):
        """Validation cuts the run into other stretches; weights are the same, also where places are drawn meanwhile."""
        assert found["watched"]
        assert found["moved, watched"]
        assert found["validation"] == [7, 14, 21, 28, 35, 40]
        assert found["best"]

    def test_it_learns_and_says_which_images_were_right(self, found):
        """Well above chance, a third; bits of images add up to the accuracy."""
        assert found["bits"]
        assert found["accuracy"][-1] > 0.5

    def test_keras_trains_the_same(self, found):
        """From the same weights with the same batches: to rounding, and hardly an image is judged differently."""
        assert found["engines"] == ["engine", "keras"]
        assert found["apart"] < 1e-4
        assert found["disagree"] <= 2

    def test_accuracy_at_the_trained_place_is_the_test_accuracy(self, found):
        """Where there is only one place, both look at the same images."""
        assert found["in place"][0] == found["in place"][1]

    def test_a_dense_network_does_not_know_the_order_of_its_inputs(self, found):
        """To rounding in double precision; a CNN does not begin with a dense layer, so nothing is said of it."""
        assert found["exact mlp"] < 1e-12
        assert found["exact cnn"] is None
