"""Each kind of layer of PyTorch and each way of writing a product: MACs by hand, forward and both gradients, nothing uncounted.

Legend: ``B`` = 2 samples; sequences ``S`` = 6 steps of ``D`` = 8 features; images 4 channels of 8 x 8.
"""

from __future__ import annotations

import warnings

import pytest

from epochwise.counting import count

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - only where it is installed
from torch.nn import functional as F  # noqa: E402, N812 - its usual name
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

pytestmark = pytest.mark.torch
B, S, D = 2, 6, 8
SEQUENCE, IMAGE, VOLUME = torch.zeros(B, S, D), torch.zeros(B, 4, 8, 8), torch.zeros(B, 4, 5, 5, 5)
WORDS = torch.zeros(B, S, dtype=torch.long)
attention = F.scaled_dot_product_attention


class Calls(nn.Module):
    """Calls a function with its parts and its input."""

    def __init__(self, function, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.function = function

    def forward(self, *inputs):
        return self.function(self.parts, *inputs)


def counted(module, x, **options):
    def loss(outputs, labels):
        del labels
        return (outputs.abs() if outputs.is_complex() else outputs).float().square().mean()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PyTorch says of choices that tests are about
        return count(module, B, x, x, loss=options.pop("loss", loss), **options)


def total(module, x, **options):
    counts = counted(module, x, **options)
    assert counts.uncounted == ()
    rows = counts.layers
    return tuple(sum(getattr(row, f"{kind}_macs") for row in rows) for kind in ("forward", "weight_gradient", "input_gradient"))


def row(module, x, name, **options):
    counts = counted(module, x, **options)
    assert counts.uncounted == ()
    found = next(row for row in counts.layers if row.name == name)
    return found.forward_macs, found.weight_gradient_macs, found.input_gradient_macs


# --- attention ----------------------------------------------------------------------------------------------------------


def heads(attend, queries=D, keys=D, learn=(True, True, True)):
    """Attention between projections, heads of 4 features; ``learn`` says which of the three have weights in front."""

    def run(parts, x):
        split = (
            (part(x) if wanted else x[..., : part.out_features]).view(B, S, -1, 4).transpose(1, 2)
            for part, wanted in zip(parts, learn, strict=True)
        )
        return attend(*split)

    return Calls(run, nn.Linear(D, queries), nn.Linear(D, keys), nn.Linear(D, keys))


def by(backend, **options):
    def attend(query, key, value):
        with sdpa_kernel(backend):
            return attention(query, key, value, **options)

    return attend


@pytest.mark.parametrize(
    "attend",
    [
        attention,
        lambda q, k, v: attention(q, k, v, is_causal=True),
        by(SDPBackend.MATH),
        by(SDPBackend.MATH, is_causal=True),
        by(SDPBackend.FLASH_ATTENTION, is_causal=True),
        lambda q, k, v: attention(q, k, v, attn_mask=torch.ones(S, S, dtype=torch.bool)),
        lambda q, k, v: attention(q, k, v, attn_mask=torch.zeros(S, S)),
        lambda q, k, v: attention(q, k, v, dropout_p=0.1),
        lambda q, k, v: attention(q, k, v, scale=1.0),
        lambda q, k, v: torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v,
        lambda q, k, v: torch.einsum("bhls,bhsd->bhld", torch.einsum("bhld,bhsd->bhls", q, k).softmax(-1), v),
    ],
)
def test_every_path_of_attention_costs_the_same(attend):
    """Two products of S S D forward, two gradients each; a causal mask deducts nothing, as the literature counts it."""
    assert row(heads(attend), SEQUENCE, "Calls") == (2 * S * S * D, 0, 4 * S * S * D)


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize(
    ("learn", "gradients"),
    [((True, False, False), 2), ((False, True, False), 2), ((False, False, True), 1), ((True, True, False), 3)],
)
def test_gradients_that_nothing_needs_are_not_charged(backend, learn, gradients):
    """Of the query: of the weights of attention, then its own; of the value alone: one product. Fused or not."""
    assert row(heads(by(backend), learn=learn), SEQUENCE, "Calls") == (2 * S * S * D, 0, gradients * S * S * D)


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_grouped_queries_cost_what_all_queries_do(backend):
    """Four heads of queries on two of keys and values: the products have as many terms as with four."""
    grouped = heads(by(backend, enable_gqa=True), queries=16, keys=8)
    assert row(grouped, SEQUENCE, "Calls") == (2 * S * S * 16, 0, 4 * S * S * 16)


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_multi_head_attention(weights, dropout):
    """Four projections of S D D and the two products; the input of the first three learns nothing."""
    layer = nn.MultiheadAttention(D, 2, dropout=dropout, batch_first=True)
    module = Calls(lambda parts, x: parts[0](x, x, x, need_weights=weights)[0], layer)
    products = 2 * S * S * D
    projections = S * D * D
    assert total(module, SEQUENCE) == (4 * projections + products, 4 * projections, projections + 2 * products)


@pytest.mark.parametrize("first", [True, False])
def test_an_encoder_layer_of_a_transformer_is_not_taken_the_fast_way(first):
    """Training takes the layers one by one; behind a layer that learns, all have both gradients."""
    module = nn.Sequential(nn.Linear(D, D), nn.TransformerEncoderLayer(D, 2, 16, batch_first=True, norm_first=first))
    products, weights = 2 * S * S * D, 4 * S * D * D + 2 * S * D * 16
    forward, weight, given = total(module, SEQUENCE)
    assert (forward, weight, given) == (S * D * D + weights + products, S * D * D + weights, weights + 2 * products)


# --- recurrent layers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind, gates, layers, directions, bias):
    """Each step and direction multiplies gates x H with its input and with its state.

    The input of the first layer learns nothing, and neither does the state that a layer begins with.
    """
    hidden = 5
    net = kind(D, hidden, layers, batch_first=True, bidirectional=directions == 2, bias=bias)
    state = gates * hidden * hidden * directions
    inputs = [gates * hidden * (D if layer == 0 else hidden * directions) * directions for layer in range(layers)]
    forward = S * (sum(inputs) + layers * state)
    given = S * sum(inputs[1:]) + (S - 1) * layers * state
    assert total(Calls(lambda parts, x: parts[0](x)[0], net), SEQUENCE) == (forward, forward, given)


def test_an_lstm_whose_states_are_projected():
    """H = 5 hidden features, states of 3: kernels of 4H x D, 4H x 3 and 3 x H."""
    net = Calls(lambda parts, x: parts[0](x)[0], nn.LSTM(D, 5, batch_first=True, proj_size=3))
    forward = S * (20 * D + 20 * 3 + 3 * 5)
    assert total(net, SEQUENCE) == (forward, forward, (S - 1) * 20 * 3 + S * 3 * 5)


def test_an_lstm_behind_a_layer_that_learns_has_an_input_gradient():
    """And only the gradients of what is trained."""
    net = nn.LSTM(D, 5, batch_first=True)
    net.weight_ih_l0.requires_grad_(False)
    module = Calls(lambda parts, x: parts[1](parts[0](x))[0], nn.Linear(D, D), net)
    assert row(module, SEQUENCE, "parts.1") == (S * 20 * (D + 5), S * 20 * 5, S * 20 * D + (S - 1) * 20 * 5)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_cells_are_one_step(kind, gates):
    """With no state given, it begins with zeros."""

    def run(parts, x):
        made = parts[0](x[:, 0])
        return made[0] if isinstance(made, tuple) else made

    each = gates * 5 * (D + 5)
    assert total(Calls(run, kind(D, 5)), SEQUENCE) == (each, each, 0)


# --- convolutions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "layer", "x", "macs"),
    [
        (nn.Conv1d(6, 6, 1), nn.Conv1d(6, 4, 3, stride=2, dilation=2, padding=2), SEQUENCE, 4 * 3 * 6 * 4),
        (nn.Conv2d(4, 4, 1), nn.Conv2d(4, 6, (3, 2), padding=(1, 0)), IMAGE, 8 * 7 * 6 * 4 * 6),
        (nn.Conv2d(4, 4, 1), nn.Conv2d(4, 6, 3, groups=2), IMAGE, 36 * 9 * 4 * 6 // 2),
        (nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 3, groups=4, padding="same"), IMAGE, 64 * 9 * 8),
        (nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 3, padding=1, padding_mode="circular"), IMAGE, 64 * 9 * 4 * 8),
        (nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"), IMAGE, 64 * 9 * 4 * 8),
        (nn.Conv3d(4, 4, 1), nn.Conv3d(4, 6, 3, padding=1, groups=2), VOLUME, 125 * 27 * 4 * 6 // 2),
        (nn.Conv1d(6, 6, 1), nn.ConvTranspose1d(6, 4, 3, stride=2), SEQUENCE, 8 * 3 * 6 * 4),
        (
            nn.Conv2d(4, 4, 1),
            nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1, dilation=2),
            IMAGE,
            64 * 9 * 4 * 6 // 2,
        ),
        (nn.Conv3d(4, 4, 1), nn.ConvTranspose3d(4, 6, 3, stride=2), VOLUME, 125 * 27 * 4 * 6),
    ],
)
def test_convolutions(before, layer, x, macs):
    """Positions x taps x channels in x channels out / groups, alike for both gradients; transposed: input positions."""
    assert row(nn.Sequential(before, layer), x, "1") == (macs, macs, macs)


# --- products in all their forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("product", "macs"),
    [
        (lambda p, x: F.linear(p[0](x), p[1].weight), (S * D * 7, S * D * 7, S * D * 7)),
        (lambda p, x: p[0](x) @ p[1].weight.t(), (S * D * 7, S * D * 7, S * D * 7)),
        (lambda p, x: torch.einsum("blc,dc->bld", p[0](x), p[1].weight), (S * D * 7, S * D * 7, S * D * 7)),
        (lambda p, x: torch.tensordot(p[0](x), p[1].weight, ([2], [1])), (S * D * 7, S * D * 7, S * D * 7)),
        (lambda p, x: torch.vmap(lambda one: one @ p[1].weight.t())(p[0](x)), (S * D * 7, S * D * 7, S * D * 7)),
        (lambda p, x: torch.addmm(p[1].bias, p[0](x)[:, 0], p[1].weight.t()), (D * 7, D * 7, D * 7)),
        (lambda p, x: torch.bmm(p[0](x), x.transpose(1, 2)), (S * S * D, 0, S * S * D)),
        (lambda p, x: torch.bmm(p[0](x), p[0](x).transpose(1, 2)), (S * S * D, 0, 2 * S * S * D)),
        (lambda p, x: torch.baddbmm(x.new_zeros(1, 1, S), p[0](x), x.transpose(1, 2)), (S * S * D, 0, S * S * D)),
        (lambda p, x: torch.addbmm(x.new_zeros(S, S), p[0](x), x.transpose(1, 2)), (S * S * D, 0, S * S * D)),
        (lambda p, x: torch.einsum("blc,bmc->blm", p[0](x), p[0](x)), (S * S * D, 0, 2 * S * S * D)),
        (lambda p, x: torch.einsum("blc,blc->b", p[0](x), x), (S * D, 0, S * D)),
    ],
)
def test_products_outside_of_layers(product, macs):
    """However they are written, on the row of the module that writes them."""
    assert row(Calls(product, nn.Linear(D, D), nn.Linear(D, 7)), SEQUENCE, "Calls") == macs


def test_products_of_weights_alone_are_weight_gradients():
    """(W2 W1) x, as einsum orders it: no data is in the first product, so both its gradients are of weights."""
    module = Calls(lambda p, x: x @ (p[1].weight @ p[0].weight).t(), nn.Linear(D, 7), nn.Linear(7, 3))
    of_weights, of_data = 3 * 7 * D / B, S * D * 3
    assert total(module, SEQUENCE) == (of_weights + of_data, of_data + 2 * of_weights, 0)


def test_a_bilinear_layer():
    """x W y for each of 5 outputs, D x D terms each; gradients of W, x and y."""
    module = Calls(lambda p, x: p[1](p[0](x), p[0](x)), nn.Linear(D, D), nn.Bilinear(D, D, 5))
    macs = S * D * D * 5
    assert row(module, SEQUENCE, "parts.1") == (macs, macs, 2 * macs)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Embedding(11, 5, padding_idx=0), WORDS),
        (nn.Embedding(11, 5, max_norm=1.0), WORDS),
        (nn.Embedding(11, 5, scale_grad_by_freq=True), WORDS),
        (nn.Embedding(11, 5, sparse=True), WORDS),
        (nn.EmbeddingBag(11, 5), WORDS),
        (nn.EmbeddingBag(11, 5, mode="sum"), WORDS),
        (nn.EmbeddingBag(11, 5, mode="max"), WORDS),
    ],
)
def test_tables_multiply_nothing(layer, x):
    """They look up and add."""
    assert total(layer, x) == (0, 0, 0)


@pytest.mark.parametrize(
    ("layers", "x"),
    [
        ([nn.BatchNorm2d(4)], IMAGE),
        ([nn.BatchNorm2d(4, track_running_stats=False)], IMAGE),
        ([nn.InstanceNorm2d(4, affine=True)], IMAGE),
        ([nn.GroupNorm(2, 4)], IMAGE),
        ([nn.LayerNorm(8), nn.RMSNorm(8)], IMAGE),
        ([nn.LocalResponseNorm(2)], IMAGE),
        ([nn.Unfold(2, stride=2), nn.Fold((8, 8), 2, stride=2)], IMAGE),
        ([nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2)], IMAGE),
        ([nn.AvgPool2d(2), nn.LPPool2d(2, 2, 1), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2)], IMAGE),
        ([nn.FractionalMaxPool2d(2, output_size=4), nn.MaxPool2d(2)], IMAGE),
        ([nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()], IMAGE),
        ([nn.ZeroPad2d(1), nn.ReflectionPad2d(1), nn.ReplicationPad2d(1), nn.CircularPad2d(1)], IMAGE),
        ([nn.ReLU6(), nn.Hardswish(), nn.SiLU(), nn.Mish(), nn.GELU("tanh"), nn.ELU(), nn.SELU(), nn.CELU()], IMAGE),
        ([nn.Softplus(), nn.Softsign(), nn.Tanhshrink(), nn.LogSigmoid(), nn.PReLU(), nn.RReLU(), nn.Hardtanh()], IMAGE),
        ([nn.Hardsigmoid(), nn.Softshrink(), nn.Hardshrink(), nn.Threshold(0.0, 0.0), nn.Softmin(-1), nn.GLU()], IMAGE),
        *[([nn.Upsample(scale_factor=2, mode=mode)], IMAGE) for mode in ("nearest", "bilinear", "bicubic", "nearest-exact")],
    ],
)
def test_layers_without_products(layers, x):
    """No MACs beyond the convolution in front, and nothing uncounted."""
    macs = 64 * 4 * 4
    assert total(nn.Sequential(nn.Conv2d(4, 4, 1), *layers), x) == (macs, macs, 0)


@pytest.mark.parametrize(
    "function",
    [
        lambda p, x: F.interpolate(p[0](x), scale_factor=2, mode="bicubic", antialias=True),
        lambda p, x: F.interpolate(p[0](x), scale_factor=2, mode="bilinear", antialias=True),
        lambda p, x: F.interpolate(p[0](x), scale_factor=0.5, mode="area"),
        lambda p, x: F.grid_sample(p[0](x), torch.zeros(B, 3, 3, 2), align_corners=False),
        lambda p, x: nn.MaxUnpool2d(2)(*nn.MaxPool2d(2, return_indices=True)(p[0](x))),
        lambda p, x: torch.cdist(p[0](x), x),
        lambda p, x: F.cosine_similarity(p[0](x), x),
        lambda p, x: torch.fft.irfft2(torch.fft.rfft2(p[0](x)) * 2),
        lambda p, x: p[0](x).cumsum(1).cumprod(1).sort(1)[0].topk(2, 1)[0].logcumsumexp(1),
    ],
)
def test_functions_without_products(function):
    """As above."""
    macs = 64 * 4 * 4
    assert total(Calls(function, nn.Conv2d(4, 4, 1)), IMAGE) == (macs, macs, 0)


def test_a_grid_of_an_affine_map_is_a_product():
    """Each of 64 points (x, y, 1) times a matrix of 2 x 3; the matrix is learnt."""
    module = Calls(lambda p, x: F.affine_grid(p[0](x).view(B, 2, 3), (B, 4, 8, 8), align_corners=False), nn.Linear(D, 6))
    forward, *_ = row(module, torch.zeros(B, D), "Calls")
    assert forward == 64 * 2 * 3


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_parametrized_weights_are_counted_on_the_layer_that_has_them(kind):
    """The product is the layer's; what makes the weight is on the row of the parametrization."""
    module = getattr(nn.utils.parametrizations, kind)(nn.Linear(D, D))
    assert row(module, SEQUENCE, "ParametrizedLinear") == (S * D * D, S * D * D, 0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda o, y: F.kl_div(o.log_softmax(-1), o.softmax(-1).detach(), reduction="batchmean"),
        lambda o, y: F.triplet_margin_loss(o[0], o[1], o[0]),
        lambda o, y: F.cosine_embedding_loss(o[0], o[1], torch.ones(S)),
        lambda o, y: F.hinge_embedding_loss(o, torch.ones(B, S, D)),
        lambda o, y: F.poisson_nll_loss(o, torch.ones(B, S, D)),
        lambda o, y: F.multilabel_margin_loss(o[0], torch.zeros(S, D, dtype=torch.long)),
        lambda o, y: F.multi_margin_loss(o[0], torch.zeros(S, dtype=torch.long)),
        lambda o, y: F.multilabel_soft_margin_loss(o[0], torch.zeros(S, D)),
        lambda o, y: F.cross_entropy(o[0], torch.zeros(S, dtype=torch.long), label_smoothing=0.1, weight=torch.ones(D)),
        lambda o, y: F.cross_entropy(o.transpose(1, 2), WORDS),
        lambda o, y: F.binary_cross_entropy_with_logits(o, torch.zeros(B, S, D), pos_weight=torch.ones(D)),
        lambda o, y: F.margin_ranking_loss(o[0], o[1], torch.ones(S, D)),
        lambda o, y: F.l1_loss(o, y) + F.smooth_l1_loss(o, y) + F.huber_loss(o, y) + F.soft_margin_loss(o, y),
    ],
)
def test_losses_multiply_nothing(loss):
    """On a row of their own, and nothing uncounted."""
    assert total(nn.Linear(D, D), SEQUENCE, loss=loss) == (S * D * D, S * D * D, 0)


@pytest.mark.parametrize("function", [torch.linalg.inv, torch.linalg.svdvals, torch.linalg.matrix_exp])
def test_decompositions_are_listed(function):
    """Their shapes do not show what they cost."""
    counts = counted(Calls(lambda p, x: function(p[0].weight) + x.sum(), nn.Linear(D, D)), SEQUENCE)
    assert {entry.reason for entry in counts.uncounted} == {"no rule"}
    assert {entry.layer for entry in counts.uncounted} == {"Calls"}
