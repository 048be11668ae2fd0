"""Plain PyTorch modules as subjects."""

from __future__ import annotations

import numpy as np
import pytest

from epochwise.errors import ModelDoesNotFitError, ModelFailedError
from epochwise.subjects.datasets import DataSpec, load_data, make_dataset
from epochwise.subjects.loading import load_subject
from epochwise.subjects.models import parse_model

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  after the check that it is there

from epochwise.subjects.torch import fit_to  # noqa: E402  likewise

pytestmark = pytest.mark.torch

X = np.random.default_rng(0).random((16, 6), dtype=np.float32)
CLASSES = np.arange(16) % 4


def flat(y):
    return make_dataset("data", X, y)


@pytest.mark.parametrize(("function", "parameters"), [("build_model_seq", 55050), ("build_model_cnn", 3330)])
def test_the_question_in_pytorch(pytestconfig, function, parameters):
    """The two models have the question's parameters, take images channels-first, and can be trained."""
    images = load_data(DataSpec(source="random", input_shape=(28, 28, 1), classes=10, samples=64))
    path = pytestconfig.rootpath / "examples" / "question_torch.py"
    subject = load_subject(parse_model(f"{path}:{function}"), images, backend="pytorch", batch_size=32, seed=0)
    assert sum(weights.numel() for weights in subject.model.parameters()) == parameters
    assert (subject.data.x.shape, subject.data.y.dtype) == ((64, 1, 28, 28), np.int64)
    assert isinstance(subject.optimizer, torch.optim.SGD)
    before = [weights.clone() for weights in subject.model.parameters()]
    loss = subject.loss(subject.model(torch.from_numpy(subject.data.x)), torch.from_numpy(subject.data.y))
    loss.backward()
    subject.optimizer.step()
    assert subject.model.training
    assert all((old != new).any() for old, new in zip(before, subject.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("labels", "units", "loss", "dtype", "shape"),
    [
        (CLASSES, 4, nn.CrossEntropyLoss, np.int64, (16,)),
        (CLASSES, 7, nn.CrossEntropyLoss, np.int64, (16,)),
        (np.eye(4)[CLASSES], 4, nn.CrossEntropyLoss, np.float32, (16, 4)),
        (CLASSES % 2, 1, nn.BCEWithLogitsLoss, np.float32, (16, 1)),
        (CLASSES / 3.0, 1, nn.MSELoss, np.float32, (16, 1)),
        (np.ones((16, 3)) / 3, 3, nn.MSELoss, np.float32, (16, 3)),
    ],
)
def test_loss_fits_the_labels(labels, units, loss, dtype, shape):
    """Classes get cross-entropy, numbers mean squared error; labels have the type and shape that the loss takes."""
    model = nn.Linear(6, units)
    data, chosen, _ = fit_to(model, flat(labels), name="net")
    assert isinstance(chosen, loss)
    assert (data.y.dtype, data.y.shape) == (dtype, shape)
    assert chosen(model(torch.from_numpy(data.x)), torch.from_numpy(data.y)).isfinite()


class Answer:
    """As the modules of ``transformers`` give: an object with the outputs inside."""

    def __init__(self, logits):
        self.loss, self.logits = None, logits


def test_logits_inside_of_an_object():
    """The loss is of them, and the same as of the tensor alone."""
    data, loss, _ = fit_to(Odd(Answer), flat(CLASSES), name="net")
    logits, labels = torch.randn(16, 4), torch.from_numpy(data.y)
    assert loss(Answer(logits), labels) == nn.functional.cross_entropy(logits, labels)


@pytest.mark.parametrize("last", [True, False])
def test_a_class_for_each_token(last):
    """Classes may be the last axis, as language models have them, or the second, as PyTorch's own loss takes them."""
    labels = np.arange(16 * 6).reshape(16, 6) % 4
    model = nn.Sequential(nn.Unflatten(1, (6, 1)), nn.Linear(1, 4), *([] if last else [nn.Flatten(), nn.Unflatten(1, (4, 6))]))
    data, loss, _ = fit_to(model, flat(labels), name="net")
    outputs, answers = model(torch.from_numpy(data.x)), torch.from_numpy(data.y)
    classes = outputs if last else outputs.transpose(1, 2)
    right = nn.functional.cross_entropy(classes.reshape(-1, 4), answers.reshape(-1))
    torch.testing.assert_close(loss(outputs, answers), right)


def test_lazy_layers_and_mode():
    """Lazy layers get their shapes before the optimizer is made; the module keeps its mode and its statistics."""
    model = nn.Sequential(nn.LazyLinear(5), nn.BatchNorm1d(5), nn.Dropout(), nn.LazyLinear(4))
    _, _, optimizer = fit_to(model, flat(CLASSES), name="net")
    assert sum(weights.numel() for weights in optimizer.param_groups[0]["params"]) == 35 + 10 + 24
    assert model.training
    assert model[1].num_batches_tracked == 0


class Odd(nn.Module):
    def __init__(self, result):
        super().__init__()
        self.inner = nn.Linear(6, 4)
        self.result = result

    def forward(self, x):
        return self.result(self.inner(x))


@pytest.mark.parametrize(
    ("model", "labels", "text"),
    [
        (nn.Linear(7, 4), CLASSES, r"samples of shape \(6,\) \(float32\); net begins with a layer for 7 features"),
        (nn.Conv2d(3, 4, 3), CLASSES, "begins with a layer for 3 channels"),
        (nn.Linear(6, 3), CLASSES, r"output of shape \(3,\) per sample, and the labels have 4 classes"),
        (nn.Linear(6, 3), np.eye(4)[CLASSES], r"output of shape \(3,\) per sample, and the labels have 4 classes"),
        (nn.Linear(6, 2), CLASSES / 3.0, r"output of shape \(2,\) per sample, and the numbers to predict have \(\)"),
        (Odd(lambda x: (x, x)), CLASSES, "gives a tuple; one tensor"),
        (Odd(lambda x: x.reshape(-1, 2)), CLASSES, "gives 4 outputs for 2 samples"),
        (nn.Flatten(), CLASSES, "no trainable parameters"),
        (Odd(lambda x: x[:, None].expand(-1, 5, -1)), np.zeros((16, 6), int), r"output of shape \(5, 4\) per sample"),
    ],
)
def test_model_that_does_not_fit(model, labels, text):
    """A module that does not take the data, or whose output does not fit the labels, is refused with both shapes."""
    with pytest.raises(ModelDoesNotFitError, match=text) as caught:
        fit_to(model, flat(labels), name="net")
    assert caught.value.cause
    assert caught.value.remedy


def test_mistake_in_forward():
    """A mistake in the user's forward is reported with their frames."""
    with pytest.raises(ModelFailedError, match="net raised NameError") as caught:
        fit_to(Odd(lambda x: undefined), flat(CLASSES), name="net")  # noqa: F821  the mistake
    assert "test_torch.py" in caught.value.what
