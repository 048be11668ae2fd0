"""Plain PyTorch modules as people train them: compiled, checkpointed, mixed precision, steps of their own, with faults."""

from __future__ import annotations

import copy
import gc
import logging

import pytest

from epochwise.counting import count
from epochwise.errors import ModelDoesNotFitError, ModelFailedError, TracingError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - only where it is installed
from torch.nn import functional as F  # noqa: E402, N812 - its usual name
from torch.utils.checkpoint import checkpoint  # noqa: E402

from epochwise.counting.models import trace_model  # noqa: E402
from epochwise.tracing.calls import torch as recording  # noqa: E402

pytestmark = pytest.mark.torch
B, D = 4, 8
X, Y = torch.zeros(B, D), torch.zeros(B, 2)


def net():
    return nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Linear(D, 2))


class Calls(nn.Module):
    """Calls a function with its parts and its input."""

    def __init__(self, function, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.function = function

    def forward(self, *inputs):
        return self.function(self.parts, *inputs)


def rows(counts):
    assert counts.uncounted == ()
    return {row.name: row for row in counts.layers}


# --- what calls gave is remembered --------------------------------------------------------------------------------------


def varied():
    """Views, in-place work, several results, lists, random numbers, casts, products."""

    def run(parts, x):
        first, second = parts[0](x).add_(1).chunk(2, 1)
        hidden = torch.cat([first.to(torch.float64).float(), second.clone().mul_(2)], 1)
        hidden = torch.where(hidden > 0, hidden, F.dropout(hidden, 0.3)).view(B, 2, -1)
        values, _ = hidden.max(1)
        return parts[2](parts[1](torch.stack(torch.unbind(hidden, 1), 1).flatten(1))) + values[:, :2] * 1 + values[:, :2] * 1.0

    return Calls(run, nn.Linear(D, D), nn.Sequential(nn.Linear(D, D), nn.LayerNorm(D)), nn.Linear(D, 2))


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (varied, X),
        (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 2, 16, batch_first=True), 2), torch.zeros(B, 6, D)),
        (lambda: Calls(lambda p, x: p[0](x)[0], nn.LSTM(D, 5, 2, batch_first=True, bidirectional=True)), torch.zeros(B, 6, D)),
        (
            lambda: nn.Sequential(*[nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())] * 3),
            torch.zeros(B, 3, 8, 8),
        ),
    ],
)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_remembering_what_calls_gave_changes_nothing(make, x, optimizer, monkeypatch):
    """The trace is that of PyTorch's own fake tensors, value by value."""
    module = make()

    def traced():
        return trace_model(module, B, x, x, loss=lambda outputs, _: outputs.square().mean(), optimizer=optimizer)

    assert traced() == traced()
    remembered = traced()
    monkeypatch.setattr(recording, "outputs_of", lambda func, args, kwargs, leaves: func(*args, **kwargs))
    assert remembered == traced()


def test_equal_numbers_of_other_types_are_not_the_same_call():
    """Integers times 1 stay integers, and times 1.0 they do not."""
    found = []

    def run(parts, x):
        whole = torch.arange(3)
        found.extend(((whole * 1).dtype, (whole * 1.0).dtype, (whole * True).dtype, (whole * 1).dtype))
        return parts[0](x)

    trace_model(Calls(run, nn.Linear(D, 2)), B, X, Y)
    assert found == [torch.int64, torch.float32, torch.int64, torch.int64]


# --- compiled, checkpointed, mixed precision ------------------------------------------------------------------------------


class Decorated(nn.Module):
    """A part of its forward pass is a compiled function."""

    def __init__(self):
        super().__init__()
        self.net = net()

    @torch.compile(backend="eager")
    def inner(self, x):
        return self.net(x)

    def forward(self, x):
        return self.inner(x)


def with_compiled_parts():
    module = net()
    module[0] = torch.compile(module[0], backend="eager")
    module[2].compile(backend="eager")
    return module


def compiled_in_place():
    module = net()
    module.compile(backend="eager")
    return module


@pytest.mark.parametrize(
    "make", [lambda: torch.compile(net(), backend="eager"), with_compiled_parts, compiled_in_place, Decorated]
)
def test_compiled_modules_are_counted_as_they_were_written(make):
    """Also where a part, a method or the call is compiled; layers keep the names that they had."""
    plain, compiled = rows(count(net(), B, X, Y)), rows(count(make(), B, X, Y))
    assert [row for name, row in compiled.items() if "net." not in name] or make is Decorated
    figures = [(row.kind, row.forward_macs, row.weight_gradient_macs, row.input_gradient_macs) for row in plain.values()]
    assert figures == [(r.kind, r.forward_macs, r.weight_gradient_macs, r.input_gradient_macs) for r in compiled.values()]
    assert [name.removeprefix("net.") for name in compiled] == list(plain)


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_is_counted_and_named(reentrant):
    """The last layer of the part is not run again without reentrance: its output is not needed."""
    module = Calls(lambda parts, x: checkpoint(parts[1], parts[0](x), use_reentrant=reentrant), nn.Linear(D, D), net())
    counts = count(module, B, X, Y)
    again = D * D + (2 * D if reentrant else 0)
    assert counts.per_sample.training_macs == 2 * D * D + 3 * (D * D + 2 * D) + again
    named = "parts.1.0, parts.1.2" if reentrant else "parts.1.0"
    assert counts.notes == (
        f"Checkpointing: {again} MACs per sample of the forward pass run again in the backward pass, in {named}.",
    )


def test_mixed_precision_is_counted_with_its_casts():
    """Under autocast the products are the same; activations of half the size are kept."""

    def step(model, x, y, optimizer):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()

    plain, mixed = count(net(), B, X, Y), count(net(), B, X, Y, step=step)
    assert mixed.uncounted == ()
    assert mixed.per_sample.training_macs == plain.per_sample.training_macs
    trace = trace_model(net(), B, X, Y, step=step)
    products = [operation for operation in trace.operations if operation.name in ("aten.addmm", "aten.mm")]
    assert {trace.values[operation.outputs[0]].dtype for operation in products} == {"bfloat16"}


# --- steps of their own --------------------------------------------------------------------------------------------------


def accumulating(model, x, y, optimizer):
    optimizer.zero_grad()
    for features, labels in zip(x.chunk(2), y.chunk(2), strict=True):
        (F.mse_loss(model(features), labels) / 2).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def test_accumulated_and_clipped_gradients():
    """Two half batches cost what one whole does; clipping is part of the update, and each layer is called twice."""
    plain, counts = count(net(), B, X, Y), count(net(), B, X, Y, step=accumulating)
    assert counts.uncounted == ()
    assert counts.per_sample.training_macs == plain.per_sample.training_macs
    assert [row.calls for row in counts.layers if row.kind == "Linear"] == [2, 2]
    weights = D * D + D + 2 * D + 2
    update = sum(row.update.other_flops for row in counts.layers)
    assert update >= sum(row.update.other_flops for row in plain.layers) + 3 * weights  # square, sum, scale
    before, clipped = ({row.name: row.update.other_flops for row in one.layers} for one in (plain, counts))
    assert clipped["0"] >= before["0"] + 2 * (D * D + D)  # its own norm, and what it is scaled by
    assert clipped["2"] >= before["2"] + 2 * (2 * D + 2)
    assert clipped["(optimizer)"] < weights  # the norm of the norms
    assert {operation.phase for operation in trace_model(net(), B, X, Y, step=accumulating).operations} == {
        "forward",
        "backward",
        "update",
    }


def test_a_step_without_an_update_says_so():
    """A module that is frozen as a whole is counted forward."""
    counts = count(net().requires_grad_(False), B, X, Y)
    assert counts.per_sample.training_macs == counts.per_sample.forward_macs == D * D + 2 * D
    assert "no step" in counts.notes[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("a", "b", "ends"),
    [((6, 8), (2, 8, 16), (4, 6)), ((16, 8), (8, 16), (4, 8)), ((2, 6, 8), (2, 8, 16), None), ((2, 6, 8), (8, 16), (8, 16))],
)
def test_grouped_products_in_types_that_fake_tensors_refuse(dtype, a, b, ends):
    """The processor takes them, and the same comes out."""
    offsets = None if ends is None else torch.tensor(ends, dtype=torch.int32)
    left, right = torch.zeros(a, dtype=dtype), torch.zeros(b, dtype=dtype)
    real = F.grouped_mm(left, right, offs=offsets)

    def run(parts, x):
        made = F.grouped_mm(x, right, offs=offsets)
        assert (made.shape, made.dtype) == (real.shape, real.dtype)
        return parts[0](made.float().sum().reshape(1, 1))

    assert count(Calls(run, nn.Linear(1, 1)), len(left), left, torch.zeros(1, 1)).per_sample.forward_macs > 0


def test_what_pytorch_does_not_have_is_no_fault_of_the_data():
    """Flexible attention has no gradients on a CPU, and a real step says so as well."""
    flexible = pytest.importorskip("torch.nn.attention.flex_attention").flex_attention
    net = Calls(lambda parts, x: flexible(*[parts[0](x)] * 3), nn.Linear(D, D))
    x = torch.zeros(B, 2, 6, D)
    with pytest.raises(NotImplementedError, match="backward on CPU"):
        net(x)
    with pytest.raises(ModelFailedError, match=r"raised NotImplementedError in its training step: .*backward on CPU"):
        count(net, B, x, x)


def test_grouped_products_that_do_not_fit():
    """Are refused as in a real step."""
    x = torch.zeros(2, 6, 8)
    with pytest.raises((ModelDoesNotFitError, ModelFailedError), match="contraction dimension"):
        count(Calls(lambda _, x: F.grouped_mm(x, torch.zeros(2, 9, 16)), nn.Linear(1, 1)), 2, x, x)


def test_several_outputs_with_as_many_labels():
    """The losses are summed."""
    module = Calls(lambda p, x: (p[1](p[0](x)), p[2](p[0](x))), nn.Linear(D, D), nn.Linear(D, 2), nn.Linear(D, 3))
    counts = count(module, B, X, (Y, torch.zeros(B, dtype=torch.long)))
    assert counts.per_sample.training_macs == 2 * 2 * D * D + 3 * (2 * D + 3 * D)


def test_what_is_no_array_goes_into_the_module_as_it_is():
    """Flags, and tensors that have no axis of samples; arguments by name."""

    class Takes(nn.Linear):
        def forward(self, features, table, twice):
            assert twice is True
            assert table.shape == (1, D)
            return super().forward(features + table) * 2

    counts = count(Takes(D, 2), 3, {"features": X, "table": torch.zeros(1, D), "twice": True}, Y)
    assert (counts.batch_size, counts.per_sample.forward_macs) == (3, 2 * D)


# --- nothing of the user's changes ------------------------------------------------------------------------------------------


def hooked():
    module = net()
    module[0].register_forward_hook(lambda inner, given, made: made * 2)
    module[2].register_full_backward_hook(lambda inner, given, made: None)
    module[0].weight.register_hook(lambda gradient: gradient * 0.5)
    return module


def tied():
    module = nn.Sequential(nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, 2))
    module[1].weight = module[0].weight
    return module


@pytest.mark.parametrize(
    "make",
    [
        hooked,
        tied,
        with_compiled_parts,
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(D, 2)),
        lambda: nn.utils.spectral_norm(nn.Linear(D, 2)),
        lambda: nn.Sequential(
            nn.Linear(D, D).requires_grad_(False), nn.BatchNorm1d(D), nn.Dropout(0.1), nn.Linear(D, 2)
        ).eval(),
    ],
)
@pytest.mark.parametrize("step", [None, accumulating])
def test_the_module_is_left_bit_for_bit_as_it_was(make, step):
    """Weights, buffers, gradients, keys, modes, hooks, attributes and their identity; random state and the collector, too."""
    module = make()
    torch.manual_seed(1)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)

    def state():
        return {
            "numbers": copy.deepcopy({**module.state_dict(), **{n: p.grad for n, p in module.named_parameters()}}),
            "identity": [id(tensor) for tensor in (*module.parameters(), *module.buffers())],
            "storage": [tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())],
            "required": [parameter.requires_grad for parameter in module.parameters()],
            "modes": [inner.training for inner in module.modules()],
            "attributes": [sorted(vars(inner)) for inner in module.modules()],
            "hooks": [list(inner._forward_hooks) + list(inner._backward_hooks) for inner in module.modules()],
            "collector": (gc.isenabled(), gc.get_freeze_count()),
            "process": (nn.Module.__call__, logging.getLogger("torch._subclasses.fake_tensor").disabled),
            "random": torch.get_rng_state().tolist(),
        }

    before = state()
    count(module, B, X, Y, step=step, optimizer=torch.optim.Adam)
    after = state()
    torch.testing.assert_close(after.pop("numbers"), before.pop("numbers"), rtol=0, atol=0)
    assert after == before
    module(X)  # and it still runs


# --- faults --------------------------------------------------------------------------------------------------------------


def branches(h):
    if h.sum() > 0:
        return h * 2
    return h


def selects(h):
    return h[h.nonzero()[:, 0]]


def converts(h):
    return torch.as_tensor(h.detach().numpy())


def looks_up(h):
    return {}[h]


def multiplies(h):
    return h @ torch.zeros(7, 7)


@pytest.mark.parametrize(
    ("function", "error", "line", "help_text"),
    [
        (branches, TracingError, "if h.sum() > 0:", "torch.where"),
        (selects, TracingError, "return h[h.nonzero()[:, 0]]", "values of its data"),
        (converts, TracingError, "return torch.as_tensor(h.detach().numpy())", "values of its data"),
        (looks_up, ModelFailedError, "return {}[h]", "KeyError"),
        (multiplies, ModelDoesNotFitError, "return h @ torch.zeros(7, 7)", "count(model, x=x, y=y)"),
    ],
)
def test_an_error_names_the_layer_and_the_line(function, error, line, help_text, capfd):
    """The innermost layer, and the line of the user's file; PyTorch's own logging stays quiet."""
    module = nn.Sequential(nn.Linear(D, D), Calls(lambda parts, x: function(parts[0](x)), nn.Linear(D, 2)))
    with pytest.raises(error) as raised:
        count(module, B, X, Y)
    text = str(raised.value)
    assert "Layer: 1 (Calls)" in text
    assert f"{__file__}, line {function.__code__.co_firstlineno + 1}: `{line}`" in text
    assert help_text in text
    assert capfd.readouterr().err == ""


def test_a_number_read_for_logging_is_noted_with_its_line():
    """A float that Python code asks for does not stop the count."""

    def logs(parts, x):
        hidden = parts[0](x)
        assert hidden.mean().item() == 1.0
        return hidden

    (note,) = count(Calls(logs, nn.Linear(D, 2)), B, X, Y).notes
    assert "assert hidden.mean().item() == 1.0" in note


def test_shapes_that_do_not_fit_name_the_layer():
    """Where the sizes of two layers do not meet."""
    with pytest.raises(ModelDoesNotFitError, match=r"Layer: 1\.0 \(Linear\)"):
        count(nn.Sequential(nn.Linear(D, D), nn.Sequential(nn.Linear(7, 2))), B, X, Y)


@pytest.mark.parametrize("y", [None, Y])
def test_outputs_without_a_loss_are_named(y):
    """Two outputs and one label, or none."""
    module = Calls(lambda p, x: (p[0](x), x), nn.Linear(D, 2))
    with pytest.raises(ModelDoesNotFitError, match=r"(?s)a tuple of 2.*loss=lambda") as raised:
        count(module, B, X, y)
    assert str(raised.value).count("\n") == 2


@pytest.mark.parametrize(
    ("optimizer", "works"), [(torch.optim.LBFGS, "count one evaluation"), (torch.optim.SparseAdam, "torch.optim.Adam")]
)
def test_optimizers_of_another_kind_are_refused_by_name(optimizer, works):
    """A closure, or sparse gradients, and what can be counted instead."""
    with pytest.raises(TracingError, match=rf"(?s){optimizer.__name__}.*What works: .*{works}"):
        count(net(), B, X, Y, optimizer=optimizer)


def packs(h):
    return torch.nn.utils.rnn.pack_padded_sequence(h, torch.full((B,), D), batch_first=True)


def nests(h):
    return torch.nested.nested_tensor([h[0], h[1, :2]], layout=torch.jagged)


@pytest.mark.parametrize(("function", "works"), [(packs, "without packing"), (selects, "keep the size"), (nests, "padded")])
def test_lengths_in_the_data_are_refused_with_what_can_be_counted(function, works):
    """Not only that the step depends on its data, but what to count in its place."""
    module = nn.Sequential(nn.Linear(D, D), Calls(lambda parts, x: function(parts[0](x)), nn.Linear(D, 2)))
    with pytest.raises(TracingError, match=rf"(?s)Layer: 1 \(Calls\).*What works: .*{works}"):
        count(module, B, X, Y)


@pytest.mark.parametrize("lengths", [((5,) * B, (2,) * B), (torch.full((B,), 5), torch.full((B,), 2))])
def test_ctc_is_refused_with_a_loss_that_can_be_counted(lengths):
    """Its lengths in tensors or not; and what the message proposes is counted: a product for each of 5 places."""

    def loss(made, labels):
        return F.ctc_loss(made.log_softmax(-1).transpose(0, 1), labels, *lengths)

    x, y = torch.zeros(B, 5, D), torch.ones(B, 2, dtype=torch.long)
    with pytest.raises(TracingError, match=r"(?s)ctc_loss.*loss=lambda made, y: made\.mean\(\)"):
        count(nn.Linear(D, 4), B, x, y, loss=loss)
    assert count(nn.Linear(D, 4), B, x, y, loss=lambda made, y: made.mean()).per_sample.forward_macs == 5 * D * 4
