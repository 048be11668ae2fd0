"""How often each weight is used, by hand: MACs of products with weights over the weights, biases not among them."""

from __future__ import annotations

import pytest

from epochwise.counting import count

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - only where it is installed

pytestmark = pytest.mark.torch


def uses(module, *shape, labels=3):
    """By name of the row, of all rows that have one."""
    counts = count(module, 4, torch.zeros(4, *shape), torch.zeros(4, labels))
    return {row.name: row.uses_per_weight for row in counts.layers if row.uses_per_weight is not None}


class Tied(nn.Module):
    """One matrix for going in and for coming out."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6, bias=False)
        self.last = nn.Linear(6, 6, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.first(x))


class Added(nn.Module):
    """A product, and a matrix of weights that is added to it."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(6, 3))
        self.term = nn.Parameter(torch.zeros(4, 3))

    def forward(self, x):
        return torch.addmm(self.term, x, self.factor)


class Recurrent(nn.Module):
    """A fused layer that keeps what it gives at the end."""

    def __init__(self, kind):
        super().__init__()
        self.inner = kind(5, 3, batch_first=True)

    def forward(self, x):
        return self.inner(x)[0][:, -1]


class Attention(nn.Module):
    """Three weights in one matrix."""

    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0].mean((1, 2))[:, None].expand(-1, 3)


class Twice(nn.Module):
    """A layer that is called twice, at another size each time."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3)

    def forward(self, x):
        return self.conv(self.conv(x)).mean((1, 2))[:, None].expand(-1, 3)


def grouped():
    """16 positions, whatever the groups."""
    return nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.Flatten(), nn.Linear(128, 3))


def transposed():
    """The 16 positions that go in."""
    return nn.Sequential(nn.ConvTranspose2d(4, 2, 3, stride=2), nn.Flatten(), nn.Linear(162, 3))


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (lambda: nn.Sequential(nn.Linear(7, 3)), (7,), {"0": 1}),
        (grouped, (4, 8, 8), {"0": 16, "2": 1}),
        (transposed, (4, 4, 4), {"0": 16, "2": 1}),
        (Twice, (2, 10), {"conv": 8 + 6}),
        (lambda: Recurrent(nn.LSTM), (9, 5), {"inner": 9}),
        (lambda: Recurrent(nn.GRU), (9, 5), {"inner": 9}),
        (lambda: nn.Sequential(Tied(), nn.Linear(6, 3)), (6,), {"0.first": 1, "0.last": 1, "1": 1}),
        (lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3)), (6,), {"1": 1}),
    ],
    ids=["dense", "grouped", "transposed", "called twice", "lstm", "gru", "tied", "norm"],
)
def test_by_hand(module, shape, expected):
    """Positions for convolutions, steps for recurrent layers, calls for shared ones; none for a normalisation."""
    assert uses(module(), *shape) == expected


def test_a_matrix_of_three_weights():
    """Query, key and value are parts of one parameter, each used once for each of 5 positions, and so is the output's."""
    assert set(uses(Attention(), 5, 8).values()) == {5}


class Biased(nn.Module):
    """Attention with a learnt bias for each pair of positions, which is added and never multiplied with."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 1, 5, 5))

    def forward(self, x):
        x = x[:, None]
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=self.bias).mean((1, 2))[:, :3]


def test_a_bias_of_attention_is_no_weight_of_its_products():
    """There is none in attention itself."""
    assert uses(Biased(), 5, 8) == {}


def test_an_image_and_a_text():
    """The shape of the first input is in the record, without the batch."""
    counts = count(nn.Sequential(nn.Linear(7, 3)), 4, torch.zeros(4, 7), torch.zeros(4, 3))
    assert counts.input_shape == (None, 7)


def test_containers_hold_their_rows():
    """Blocks are listed with their parents, and each row names its own; the model itself is none."""
    block = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    counts = count(
        nn.Sequential(nn.Sequential(block, nn.Linear(6, 6)), nn.Linear(6, 3)), 4, torch.zeros(4, 6), torch.zeros(4, 3)
    )
    assert [(part.name, part.kind, part.parent) for part in counts.containers] == [
        ("0", "Sequential", None),
        ("0.0", "Sequential", "0"),
    ]
    assert {row.name: row.parent for row in counts.layers if not row.name.startswith("(")} == {
        "0.0.0": "0.0",
        "0.0.1": "0.0",
        "0.1": "0",
        "1": None,
    }


def test_weights_that_are_added_are_not_used_in_products():
    """18 MACs for a sample, with 18 weights; the 12 that are added are in none."""
    assert uses(Added(), 6) == {"Added": 1}
