"""Models that scale images which are scaled already are found by what reaches their first layer with weights."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from epochwise.experiments.protocols import p1
from epochwise.experiments.reach import Reach, of_images, of_model
from epochwise.experiments.record import Experiment
from epochwise.experiments.verdicts import table
from tests.experiments import made_up

_LOOK = """
import json
import keras
from keras import layers
from epochwise.experiments.reach.keras import reach

SHAPE = (6, 6, 1)

class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = layers.Conv2D(2, 3, name="conv"), layers.GlobalMaxPooling2D()

    def call(self, x):
        return self.pool(self.conv(x / 255))

def chain(*parts):
    return keras.Sequential([keras.Input(SHAPE), *parts, layers.Flatten(), layers.Dense(3, name="dense")])

own = Own()
own(keras.ops.zeros((1, *SHAPE)))
inputs = keras.Input(SHAPE)
statistics = layers.Normalization(mean=72.9, variance=90.0**2, name="statistics")
models = {
    "plain": chain(),
    "rescaling": chain(layers.Rescaling(1 / 255, name="scale")),
    "nested": chain(keras.Sequential([layers.RandomFlip(), layers.Rescaling(1 / 255, name="scale")], name="preparing")),
    "statistics": chain(statistics),
    "symmetric": chain(layers.Rescaling(2.0, offset=-1.0)),
    "operation": keras.Model(inputs, layers.Dense(3, name="dense")(layers.Flatten()(inputs / 255.0))),
    "subclassed": own,
    "recurrent": keras.Sequential([keras.Input(SHAPE), layers.Reshape((6, 6)), layers.LSTM(2, name="lstm")]),
    "without": keras.Sequential([keras.Input(SHAPE), layers.Flatten()]),
}
found = {name: reach(model, SHAPE, 0.0, 1.0) for name, model in models.items()}
print(json.dumps({name: each and vars(each) for name, each in found.items()}))
"""


@pytest.fixture(scope="module", params=["torch", "jax", "tensorflow"])
def looked(request) -> dict[str, dict]:
    """What a process with this backend finds of eight models, shown images from 0 to 1."""
    pytest.importorskip(request.param)
    environment = {"KERAS_BACKEND": request.param, "PATH": "", "PYTHONPATH": ":".join(sys.path), "HOME": "/tmp"}
    done = subprocess.run(
        [sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_reaches_the_first_weights_is_found_by_running_the_model(looked):
    """1/255 of it behind a division, 1/90 behind statistics of 0..255; the layer is named, if one did it."""
    assert looked["without"] is None
    layers = {name: each["layer"] for name, each in looked.items() if each}
    assert {name: layer for name, layer in layers.items() if layer != "dense"} == {"subclassed": "conv", "recurrent": "lstm"}
    expected = {"plain": 1, "rescaling": 1 / 255, "nested": 1 / 255, "statistics": 1 / 90, "symmetric": 2, "recurrent": 1}
    expected |= {"operation": 1 / 255, "subclassed": 1 / 255}
    assert {name: looked[name]["span"] for name in expected} == pytest.approx(expected, rel=0.01)
    faded_by = {name: looked[name]["faded_by"] for name in expected if looked[name]["faded_by"]}
    assert faded_by == {"rescaling": "scale", "nested": "scale", "statistics": "statistics"}


def test_the_user_is_told_which_layer_to_leave_out():
    """By its name; where there is none, that it is code; and nothing of models that see their images."""
    said = of_model("wide", 1.0, Reach("dense", 1 / 255, "rescaling"))
    assert "'dense', lies within 0.0039" in said
    assert said.endswith("wide works without the layer 'rescaling'.")
    assert "code of its own" in of_model("wide", 1.0, Reach("dense", 1 / 255, ""))
    assert of_model("wide", 1.0, Reach("dense", 0.5, "")) == ""
    assert of_model("wide", 0.004, Reach("dense", 0.004, "")) == "", "that is for the images to be told"


@pytest.mark.parametrize(("low", "high", "said"), [(0, 255, "/ 255"), (0, 0.004, "x / x.max()"), (-2.1, 2.6, ""), (0, 1, "")])
def test_images_that_no_learning_rate_suits_are_told(low, high, said):
    """Floats from 0 to 255, which nothing divides, and tiny ones; standardised images are as usual."""
    found = of_images(low, high)
    assert found.endswith(said)
    assert bool(found) == bool(said)


def test_verdicts_about_a_model_that_hardly_sees_its_images_carry_a_caution():
    """Those that its trainings decide; what is counted needs none."""
    of = dataclasses.replace(made_up.study(), faint=("MLP 64-64",))
    found = Experiment(id=p1.ID, title="", claim="", falsified_if="", verdict="supported", sentence="So it is.")
    counted, worth = table(of, [found], trusted=True)
    assert worth.sentence == "This may only say that MLP 64-64 hardly learns, see the notes. So it is."
    assert "hardly" not in counted.sentence
