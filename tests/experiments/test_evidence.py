"""Evidence from end to end, on small data and models of a user's, with real trainings."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

import epochwise
from epochwise.errors import DataError, ModelDoesNotFitError, UsageError
from epochwise.experiments import evidence as whole
from epochwise.experiments import study
from epochwise.experiments.preparing import _briefly
from epochwise.experiments.protocols import p0
from epochwise.experiments.record import Experiment
from epochwise.experiments.request import Request

MODELS = """
import keras
from keras import layers

def dense(input_shape, classes):
    model = keras.Sequential([
        keras.Input((12, 12, 1)), layers.Flatten(), layers.Dense(8, activation="relu"), layers.Dense(classes),
    ])
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    return model

def conv(input_shape, classes):
    return keras.Sequential([
        keras.Input(input_shape), layers.Conv2D(4, 3, activation="relu"), layers.GlobalMaxPooling2D(),
        layers.Dense(classes, activation="softmax"),
    ])

def few(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(2, activation="softmax")])
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Data of stripes in three classes, the models' file, the smallest sizes, and a control that passes at once."""
    generator = np.random.default_rng(0)
    y = np.arange(480) % 3
    x = generator.integers(0, 150, (480, 12, 12), np.uint8)
    for number in range(3):
        x[y == number, 4 * number : 4 * number + 2] += 90
    np.savez(tmp_path / "stripes.npz", x_train=x[:360], y_train=y[:360], x_test=x[360:], y_test=y[360:])
    (tmp_path / "nets.py").write_text(MODELS)
    small = dataclasses.replace(
        study.TIERS["smoke"], seeds=2, baseline_seeds=2, baseline_epochs=2, permutation_epochs=1, agreement=1, resamples=200
    )
    monkeypatch.setitem(study.TIERS, "smoke", small)
    monkeypatch.setattr(p0, "plan", lambda study: [])
    monkeypatch.setattr(
        p0, "judge", lambda study, results: Experiment(id="P0", title="", claim="", falsified_if="", verdict="supported")
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.torch
def test_two_models_of_a_users_on_data_of_their_own(place):
    """Planned, trained, judged, kept; and a second time nothing is trained.

    One of the models is made for one size of image only: what needs others is left out, with the reason.
    """
    request = Request(
        models=("nets.py:dense", "nets.py:conv"),
        experiments=("P1", "P2", "P5", "P6"),
        data="stripes.npz",
        backend="torch",
        store=place / "kept.sqlite",
        workers=2,
    )
    planned = whole.plan(request)
    told = []
    found = whole.run(request, lambda done, total, text: told.append(text), told.append)
    again = whole.run(request)
    afterwards = whole.plan(request)
    assert [each.id for each in found.experiments] == ["P0", "P1", "P2", "P5", "P6"]
    verdicts = {each.id: each.verdict for each in found.experiments}
    assert verdicts["P6"] == "not measured"
    assert "dense takes (12, 12, 1)" in found.experiments[-1].sentence
    assert "points at learning rate 0.01" in found.experiments[1].sentence, "it was judged, whether or not they learnt"
    assert found.experiments[3].checks[0].passed
    assert found.agreement is not None
    assert found.agreement.largest_difference <= 0.02
    assert planned.done == 0
    assert 0 < found.trainings <= planned.trainings
    assert afterwards.done == afterwards.trainings == found.trainings, "rates that need not be tried are no longer planned"
    assert [row.done for row in afterwards.protocols] == [row.trainings for row in afterwards.protocols]
    first = next(place for place, text in enumerate(told) if "of" in text and "trials" in text)
    assert [text for text in told[:first] if "plain SGD" in text] == [note for note in found.notes if "plain SGD" in note] != []
    assert msgspec.json.decode(found.to_json(), type=epochwise.Evidence) == found
    assert dataclasses.asdict(request)["seed"] == 0
    assert msgspec.structs.replace(again, seconds=0.0) == msgspec.structs.replace(found, seconds=0.0)


def test_why_a_model_fails_with_another_size_is_told_in_a_sentence():
    """Of a traceback with Keras's heading and colours, the error's own words; a sentence stays as it is."""
    heading = "nets.py:f raised ValueError. Its traceback:\n  File 'nets.py', line 7\n"
    words = "\x1b[1mThe total size of the tensor must be unchanged.\x1b[0m"
    keras = f"{heading}  ValueError: Exception encountered when calling Reshape.call().\n\n{words}\n\nArguments received"
    said = "f fails with samples of (42, 42, 1), which are shown to it here: "
    assert _briefly(keras, "f", (42, 42, 1)) == f"{said}The total size of the tensor must be unchanged."
    assert _briefly(f"{heading}  ValueError: no.", "f", (42, 42, 1)) == f"{said}ValueError: no."
    assert _briefly("f takes (12, 12, 1).", "f", (42, 42, 1)) == "f takes (12, 12, 1)."


@pytest.mark.torch
def test_a_model_that_does_not_fit_the_images_is_refused_before_anything_is_trained(place):
    """With two outputs for three classes."""
    with pytest.raises(ModelDoesNotFitError, match="few gives 2 numbers per sample, and the labels have 3 classes"):
        epochwise.evidence(
            "nets.py:few", "nets.py:conv", experiments=("P1",), data="stripes.npz", backend="torch", store="s.sqlite"
        )


def test_too_few_images_of_a_class_leave_protocols_out(place):
    """Named, with the number that is needed; P0 has data of its own."""
    with np.load("stripes.npz") as old:
        rare = np.flatnonzero(old["y_train"] == 2)[10:]
        kept = np.setdiff1d(np.arange(360), rare)
        np.savez(
            "rare.npz", x_train=old["x_train"][kept], y_train=old["y_train"][kept], x_test=old["x_test"], y_test=old["y_test"]
        )
    planned = whole.plan(Request(experiments=("P1",), data="rare.npz", backend="torch", store=place / "none.sqlite"))
    control, first = planned.protocols
    assert control.left_out == ""
    assert first.left_out.startswith("the rarest class has 10 images to train on, and 24 are needed")
    assert first.trainings == 0
    assert not (place / "none.sqlite").exists()


@pytest.mark.parametrize(
    ("models", "options", "error", "said"),
    [
        (("nets.py:dense",), {}, UsageError, "1 model was given; the experiments compare two"),
        ((), {"tier": "huge"}, UsageError, "no tier 'huge'; there are smoke, standard, full"),
        ((), {"experiments": ("P1", "P11")}, UsageError, "no experiment P11; there are P0, P1"),
        ((), {"backend": "pytorch"}, UsageError, "train Keras models"),
        ((), {"data": "flat.npz"}, DataError, "the experiments need images"),
    ],
)
def test_requests_that_cannot_be_carried_out_are_refused_at_once(place, models, options, error, said):
    """Before any process is started."""
    np.savez(place / "flat.npz", x=np.zeros((60, 5), np.float32), y=np.arange(60) % 3)
    pytest.importorskip("torch")
    with pytest.raises(error, match=said):
        epochwise.evidence(*models, **({"backend": "torch", "store": "s.sqlite"} | options))
