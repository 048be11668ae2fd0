"""The models of the experiments: exact sizes, and the same weights wherever they are built."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from epochwise.experiments.models import LAYERS, Facts, facts, ours, users

SHAPE, CLASSES = (28, 28, 1), 10

WRITTEN_DOWN = {
    "mlp": Facts(55_050, 54_912, 114_560, 138),
    "cnn": Facts(3_330, 238_736, 618_864, 14_698),
}
"""Section 1 of the protocols."""

PARAMETERS = {
    "lcn": 250_530,
    "efcn": 11_111_010,
    "mlp_4": 3_190,
    "mlp_233": 239_767,
    "cnn_4_6": 1_772,
    "cnn_64_64": 53_578,
    "cnn_16_64_gap": 10_090,
    "cnn_16_64_gmp": 10_090,
    "cnn_16_64_gmp_full": 10_090,
}
FORWARD_MACS = {"lcn": 238_736, "efcn": 11_099_216, "mlp_233": 239_291, "cnn_4_6": 51_972}


@pytest.mark.parametrize("name", WRITTEN_DOWN)
def test_the_questions_models_cost_what_is_written_down(name):
    """Parameters, MACs forward and in training, and activations."""
    assert facts(LAYERS[name], SHAPE, CLASSES) == WRITTEN_DOWN[name]


def test_controls_match_what_they_are_made_to_match():
    """The locally connected one has the CNN's MACs, the dense one 3,337 times its weights, and each pair its partner's size."""
    counted = {name: facts(layers, SHAPE, CLASSES) for name, layers in LAYERS.items()}
    assert {name: counted[name].parameters for name in PARAMETERS} == PARAMETERS
    assert {name: counted[name].forward_macs for name in FORWARD_MACS} == FORWARD_MACS
    assert round(counted["efcn"].parameters / counted["cnn"].parameters) == 3_337
    assert counted["cnn_64_64"].forward_macs == pytest.approx(4.87e6, rel=1e-3)


def test_on_the_larger_canvas_they_cost_what_is_written_down():
    """42 x 42: 117,770 parameters of the MLP, 7,810 of the CNN and 610,128 MACs."""
    mlp, cnn = (facts(LAYERS[name], (42, 42, 1), CLASSES) for name in ("mlp", "cnn"))
    assert (mlp.parameters, cnn.parameters, cnn.forward_macs) == (117_770, 7_810, 610_128)


_LOOK = """
import json, sys
import numpy as np
from epochwise.experiments.models import LAYERS, ours, users
from epochwise.experiments.models.keras import build, facts

found = {}
for name in LAYERS if sys.argv[1] == "all" else ():
    given = facts({"model": ours(name), "input_shape": (28, 28, 1), "classes": 10, "between": [0, 1]})
    found[name] = given.numbers["facts"]
model = build(ours("cnn_blur"), (28, 28, 1), 10, seed=7)
found["weights"] = [float(np.float64(weight).sum()) for weight in model.get_weights()]
x = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
local, shared = (build(ours(name), (28, 28, 1), 10, seed=7) for name in ("lcn", "cnn"))
groups = [layer for layer in local.layers if type(layer).__name__ == "Conv2D"]
for layer, twin in zip(groups, [layer for layer in shared.layers if "conv" in layer.name], strict=True):
    kernel = np.asarray(twin.get_weights()[0])  # (3, 3, C, F); neighbours are gathered channel by channel
    kernel = kernel.transpose(2, 0, 1, 3).reshape(-1, kernel.shape[-1])
    layer.set_weights([np.tile(kernel, layer.groups)[None, None], np.zeros(layer.filters)])
local.layers[-1].set_weights(shared.layers[-1].get_weights())
both = [model.predict(x, verbose=0) for model in (local, shared)]
found["apart"] = float(np.abs(both[0] - both[1]).max())
question = [build(users(f"epochwise.subjects.question:{name}"), (28, 28, 1), 10, seed=3)
            for name in ("build_model_seq", "build_model_cnn")]
found["question"] = [
    all(np.array_equal(a, b) for a, b in zip(theirs.get_weights(), build(ours(name), (28, 28, 1), 10, seed=3).get_weights(),
        strict=True))
    for theirs, name in zip(question, ("mlp", "cnn"), strict=True)
]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def looked() -> dict[str, dict]:
    """What two processes with different backends find of the models."""
    found = {}
    for backend in ("torch", "jax"):
        pytest.importorskip(backend)
        environment = {"KERAS_BACKEND": backend, "PATH": "", "PYTHONPATH": ":".join(sys.path), "HOME": "/tmp"}
        done = subprocess.run(
            [sys.executable, "-c", _LOOK, "all" if backend == "torch" else "weights"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        found[backend] = json.loads(done.stdout)
    return found


@pytest.mark.torch
@pytest.mark.jax
class TestInKeras:
    """What needs Keras, found once on two backends."""

    @pytest.mark.parametrize("name", LAYERS)
    def test_the_arithmetic_is_what_counting_finds(self, looked, name):
        """Parameters and MACs of each model by ``epochwise.count``, and whether the engine covers it."""
        said = facts(LAYERS[name], SHAPE, CLASSES)
        found = Facts(**looked["torch"][name])
        if name == "lcn":  # what gathers its neighbours, in frozen layers, is no part of it
            first, second = 26 * 26 * 9, 11 * 11 * 9 * 16
            assert found.parameters - said.parameters == 9 * 9 + 9 * 9 * 16
            assert found.forward_macs - said.forward_macs == 9 * (first + second)
            assert found.training_macs - said.training_macs == 9 * (first + 2 * second)
            assert found.activations - said.activations == first + second
            return
        assert found == said

    def test_a_seed_gives_the_same_weights_on_each_backend(self, looked):
        """Bit for bit, so that backends can be compared."""
        assert looked["torch"]["weights"] == looked["jax"]["weights"]

    def test_the_locally_connected_one_is_the_convolution_where_its_weights_are_alike(self, looked):
        """With the same kernel at each place, both say the same."""
        assert looked["torch"]["apart"] < 1e-6

    def test_ours_are_the_askers_own(self, looked):
        """Built from the question's file, the two models have the same weights in the same order."""
        assert looked["torch"]["question"] == looked["jax"]["question"] == [True, True]


def test_a_users_model_is_known_by_its_content(tmp_path):
    """The same file at the same place, changed, is another model."""
    path = tmp_path / "mine.py"
    path.write_text("def net(input_shape, classes):\n    ...\n")
    first = users(f"{path}:net")
    path.write_text("def net(input_shape, classes):\n    pass\n")
    assert first["name"] == "net"
    assert users(f"{path}:net") != first
    assert json.loads(json.dumps(ours("cnn"))) == ours("cnn")
