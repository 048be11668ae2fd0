"""From a MODEL string to a subject: what is common to all frameworks. PyTorch stands for them, as the quickest to import."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

from epochwise.errors import DataError, ModelFailedError, ModelNotFoundError, NotAModelError, UsageError
from epochwise.subjects.datasets import DataSpec, load_data
from epochwise.subjects.loading import load_subject, subject_of
from epochwise.subjects.models import parse_model

SOURCE = """
import torch
from torch import nn

def nothing(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
def two(a, b): return nn.Sequential(nn.Flatten(), nn.Linear(a[0] * a[1] * a[2], b))
def keywords(*, num_classes, width=3): return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.Linear(width, num_classes))
def shape_only(input_shape=(7, 7)): return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[1] * input_shape[2], 10))
def many(depth, width, height): ...
def anything(**options): return nothing() if options == {"depth": 2} else None
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nothing()
    def forward(self, x):
        return self.inner(x)
ready = nothing()
number = 3
if True:
    hidden = None

def forgets(): nothing()
def pair(): return nothing(), "adam"
def klass(): return Net
def text(): return "model"
def raises(): return inner()
def inner(): raise ValueError("no such depth")
def through_library(): return torch.zeros(2, 3) @ torch.zeros(2, 3)
def exits(): raise SystemExit("usage: train.py")
def empty(): return nn.Sequential()
"""


@pytest.fixture(scope="module")
def images():
    return load_data(DataSpec(source="random", input_shape=(28, 28, 1), classes=10, samples=64))


@pytest.fixture
def load(tmp_path, monkeypatch, images):
    (tmp_path / "nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield lambda call, seed=0: load_subject(parse_model(f"nets.py:{call}"), images, backend="pytorch", batch_size=32, seed=seed)
    sys.modules.pop("nets", None)


pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    "call",
    [
        "nothing",
        "two",
        "keywords",
        "keywords(width=5)",
        "keywords(num_classes=12)",
        "shape_only",
        "anything(depth=2)",
        "Net",
        "ready",
    ],
)
def test_ways_to_make_a_model(load, call):
    """Functions that take nothing, the two shapes, or keywords; classes; and models that the file has made already."""
    subject = load(call)
    assert subject.backend == "pytorch"
    assert subject.name == call
    assert subject.data.x.shape == (64, 1, 28, 28)


def test_arguments_reach_the_function(load):
    """Arguments of the MODEL string are passed, and win over what epochwise would pass."""
    assert load("keywords(width=5)").model[1].out_features == 5
    assert load("keywords(num_classes=12)").model[2].out_features == 12


def test_seed(load):
    """The same seed gives the same weights, another one others; every generator is seeded."""
    weights = [load("nothing", seed).model[1].weight.detach().numpy() for seed in (0, 0, 1)]
    drawn = random.random(), np.random.rand()
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()
    load("nothing", 1)
    assert (random.random(), np.random.rand()) == drawn


@pytest.mark.parametrize(
    ("call", "received"),
    [
        ("forgets", "gave None"),
        ("pair", "gave a tuple of Sequential, str"),
        ("klass", "gave the class Net, not an instance"),
        ("text", "gave str"),
    ],
)
def test_not_a_model(load, call, received):
    """What is no model is refused, naming the type received."""
    with pytest.raises(NotAModelError, match=received) as caught:
        load(call)
    assert caught.value.what.startswith(f"nets.py:{call}")
    assert caught.value.remedy == "return model"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("many", r"needs depth and width and height; it takes \(depth, width, height\)"),
        ("nothing(depth=3)", r"takes no argument 'depth'; it takes \(\)"),
    ],
)
def test_arguments_that_do_not_fit(load, call, text):
    """A function that needs more than epochwise can give, or less than it was given, is told so with its signature."""
    with pytest.raises(UsageError, match=text):
        load(call)


def test_near_argument(load):
    """A slip in an argument's name is answered with the near one."""
    with pytest.raises(UsageError, match="no argument 'widht'") as caught:
        load("keywords(widht=3)")
    assert caught.value.cause == "Did you mean width?"
    assert caught.value.remedy == "nets.py:keywords(width=3)"


def test_not_a_function(load):
    """A name that is no function is refused by its type."""
    for name, text in (("number", "of type int"), ("hidden", "no function 'hidden'")):
        with pytest.raises(ModelNotFoundError, match=text):
            load(name)


def test_traceback_is_the_users_own(load):
    """A function that raises is reported with the frames of its file and the exception, and nothing of ours or PyTorch's."""
    with pytest.raises(ModelFailedError) as caught:
        load("raises")
    lines = str(caught.value).splitlines()
    assert lines[0] == "nets.py:raises raised ValueError. Its traceback, without the frames of libraries:"
    assert "in raises" in lines[1]
    assert "in inner" in next(line for line in lines[2:] if "File" in line)
    assert lines[-1] == "ValueError: no such depth"
    assert "loading.py" not in str(caught.value)
    with pytest.raises(ModelFailedError, match="RuntimeError") as caught:
        load("through_library")
    assert caught.value.what.count("File") == 1


def test_file_that_ends_the_program(load):
    """A file that calls exit is the user's failure, with the cause."""
    with pytest.raises(ModelFailedError, match="SystemExit") as caught:
        load("exits")
    assert "__name__" in caught.value.cause


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import torch\ndef build(:\n", "SyntaxError"),
        ("import torch, no_such_package\ndef build(): ...", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import torch\n1 / 0\ndef build(): ...", "ZeroDivisionError"),
    ],
)
def test_file_that_cannot_be_run(load, source, text):
    """A file that fails while it is loaded is reported in its own terms, and is not left half-loaded."""
    from pathlib import Path

    Path("broken.py").write_text(source)
    with pytest.raises(ModelFailedError, match=text) as caught:
        load_subject(
            parse_model("broken.py:build"),
            load_data(DataSpec(source="random", input_shape=(2,), classes=2)),
            backend="pytorch",
            batch_size=2,
            seed=0,
        )
    assert "broken.py" in caught.value.what
    assert "broken" not in sys.modules


def test_file_named_like_a_library(load, tmp_path, images):
    """A user's file may have the name of a library without taking its place."""
    (tmp_path / "json.py").write_text(SOURCE)
    import json

    assert load_subject(parse_model("json.py:nothing"), images, backend="pytorch", batch_size=32, seed=0).name == "nothing"
    assert sys.modules["json"] is json


def test_data_are_checked_first(load, images):
    """Bad data are refused before the user's file is run."""
    with pytest.raises(DataError, match="fewer than one batch of 65"):
        load_subject(parse_model("nets.py:raises"), images, backend="pytorch", batch_size=65, seed=0)


def test_live_objects(load):
    """A live module and arrays of any kind make a subject; what is no model is refused."""
    import torch

    model = torch.nn.Linear(3, 2)
    subject = subject_of(model, torch.ones(8, 3, requires_grad=True), [0, 1] * 4, name="mine", batch_size=4, seed=0)
    assert (subject.name, subject.backend, subject.data.classes, subject.data.y.dtype) == ("mine", "pytorch", 2, np.int64)
    assert subject.model is model
    with pytest.raises(NotAModelError, match="mine gave int"):
        subject_of(3, [[1.0]], [0], name="mine", batch_size=1, seed=0)
