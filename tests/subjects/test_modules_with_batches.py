"""A function that gives a plain PyTorch module together with the batch that it is called with."""

from __future__ import annotations

import textwrap

import pytest

from epochwise.counting import count
from epochwise.errors import NotAModelError
from epochwise.subjects.datasets import DataSpec, load_data
from epochwise.subjects.loading import load_alone, load_subject
from epochwise.subjects.models import parse_model

pytestmark = pytest.mark.torch
FILE = """
    import torch


    class Net(torch.nn.Linear):
        def forward(self, tokens, labels=None):
            made = super().forward(tokens)
            return {"logits": made} if labels is None else {"loss": made.square().mean(), "logits": made}


    def own_loss():
        return Net(8, 2, device="meta"), {"tokens": torch.zeros(3, 8), "labels": torch.zeros(3, 2)}


    def labels_beside():
        return Net(8, 2), (torch.zeros(3, 8),), torch.zeros(3, dtype=torch.long)


    def pair_of_something():
        return Net(8, 2), 1, 2, 3


    def net(units=2):
        return torch.nn.Linear(8, units)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(textwrap.dedent(FILE))
    return path


@pytest.mark.parametrize("function", ["own_loss", "labels_beside"])
def test_a_module_is_counted_with_the_batch_that_its_function_gives(file, function):
    """Arguments by name or by place; the loss is its own or that of its logits; the batch size is the one asked for."""
    subject = load_alone(parse_model(f"{file}:{function}"), backend="pytorch", batch_size=5, seed=0)
    counts = count(subject.model, 5, subject.x, subject.y, subject.name, loss=subject.loss, optimizer=subject.optimizer)
    assert (counts.batch_size, counts.per_sample.forward_macs, counts.per_sample.training_macs) == (5, 16, 32)
    assert counts.uncounted == ()


def test_training_takes_a_module_alone(file):
    """Where real data are asked for, and where the batch is none, the pair is refused."""
    data = load_data(DataSpec("random", (8,), 2, samples=8))
    with pytest.raises(NotAModelError, match="together with something else"):
        load_subject(parse_model(f"{file}:own_loss"), data, backend="pytorch", batch_size=4, seed=0)
    with pytest.raises(NotAModelError, match="together with something else"):
        load_alone(parse_model(f"{file}:pair_of_something"), backend="pytorch", batch_size=4, seed=0)


@pytest.mark.parametrize(("units", "loss"), [(2, "CrossEntropyLoss"), (40, "CrossEntropyLoss"), (1, "BCEWithLogitsLoss")])
def test_a_module_alone_says_how_many_classes_there_are(file, units, loss):
    """By its outputs: the shape of a sample is all that it must be told."""
    spec = parse_model(f"{file}:net(units={units})")
    subject = load_alone(spec, backend="pytorch", batch_size=5, seed=0, sample=(8,))
    assert type(subject.loss).__name__ == loss
    assert subject.data.classes == max(2, units)
    counts = count(subject.model, 5, subject.x, subject.y, subject.name, loss=subject.loss, optimizer=subject.optimizer)
    assert counts.per_sample.forward_macs == 8 * units
