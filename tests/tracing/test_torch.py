"""What is in a trace of a PyTorch step: plain modules here, Keras models in ``steps_on_keras.py`` in a process of its own."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from epochwise.counting.assembling import count_trace
from epochwise.errors import ModelDoesNotFitError, ModelFailedError, NotAModelError, TracingError
from epochwise.tracing.trace import Value

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - only where it is installed

from epochwise.counting import count  # noqa: E402
from epochwise.tracing.torch import trace_module  # noqa: E402

pytestmark = pytest.mark.torch
IMAGE, CLASSES = Value((4, 3, 8, 8), "float32"), Value((4,), "int64")


def features(*shape):
    return Value((4, *shape), "float32")


def rows(module, x, y, **options):
    counts = count_trace(trace_module(module, x, y, 4, **options), "model")
    assert counts.uncounted == ()
    return {row.name: row for row in counts.layers}


def macs(row):
    return row.forward_macs, row.weight_gradient_macs, row.input_gradient_macs


class Calls(nn.Module):
    """Calls a function with its parts and its input."""

    def __init__(self, function, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.function = function

    def forward(self, *inputs):
        return self.function(self.parts, *inputs)


def small():
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(180, 10))


class Fused(nn.Module):
    """A layer with its activation inside, as Keras has them."""

    def __init__(self, layer, activation=torch.relu):
        super().__init__()
        self.layer = layer
        self.activation = activation

    def forward(self, x):
        return self.activation(nn.functional.linear(x, self.layer.weight, self.layer.bias))


def question_mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def question_cnn():
    first, second = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU()), nn.Sequential(nn.Conv2d(16, 8, 3), nn.ReLU())
    return nn.Sequential(first, nn.MaxPool2d(2), second, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 10))


@pytest.mark.parametrize(
    ("make", "shape", "parameters", "forward", "training"),
    [(question_mlp, (28, 28), 55_050, 54_912, 114_560), (question_cnn, (1, 28, 28), 3_330, 238_736, 618_864)],
)
def test_the_models_of_the_question_are_counted_exactly(make, shape, parameters, forward, training):
    """As plain modules; with the softmax in the loss and activations as modules of their own, as PyTorch has them."""
    counts = count_trace(trace_module(make(), features(*shape), CLASSES, 4), "model")
    assert counts.parameters.trainable == parameters
    assert (counts.per_sample.forward_macs, counts.per_sample.training_macs) == (forward, training)
    assert counts.uncounted == ()


def test_an_activation_module_writes_elements_of_its_own():
    """nn.Linear and nn.ReLU are two layers, so the MLP has 266 activation elements; fused as in Keras it has 138."""
    plain = count_trace(trace_module(question_mlp(), features(28, 28), CLASSES, 4), "model")
    fused = nn.Sequential(nn.Flatten(), Fused(nn.Linear(784, 64)), Fused(nn.Linear(64, 64)), nn.Linear(64, 10))
    assert plain.per_sample.activation_elements == 2 * (64 + 64) + 10
    assert count_trace(trace_module(fused, features(28, 28), CLASSES, 4), "m").per_sample.activation_elements == 64 + 64 + 10


def test_nothing_of_the_module_changes():
    """Weights, gradients, running statistics, modes, hooks, random state and the optimizer's state are as they were."""
    module = small()
    module[3].eval()
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    before = copy.deepcopy(({n: p.grad for n, p in module.named_parameters()}, module.state_dict(), optimizer.state_dict()))
    modes, random = [part.training for part in module.modules()], torch.get_rng_state()
    call, numpy = nn.Module.__call__, "numpy" in vars(torch._subclasses.FakeTensor)

    trace_module(module, IMAGE, CLASSES, 4, optimizer=optimizer)

    after = ({n: p.grad for n, p in module.named_parameters()}, module.state_dict(), optimizer.state_dict())
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert [part.training for part in module.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert nn.Module.__call__ is call
    assert ("numpy" in vars(torch._subclasses.FakeTensor)) is numpy
    assert all(type(parameter) is nn.Parameter for parameter in module.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_everything_is_put_back_after_an_error():
    """Also when the module's own code raises."""
    call = nn.Module.__call__
    with pytest.raises(ModelFailedError, match="KeyError"):
        trace_module(Calls(lambda _, x: {}[x.shape], nn.Linear(3, 2)), features(3), features(2), 4)
    assert nn.Module.__call__ is call
    assert not isinstance(torch.ones(1), torch._subclasses.FakeTensor)


def test_backward_operations_are_told_by_the_layer_that_they_differentiate():
    """Each layer has its own backward operations, and the fan-in of a gradient belongs to the layers around it."""
    trace = trace_module(small(), IMAGE, CLASSES, 4)
    kinds = {}
    for operation in trace.operations:
        if operation.phase == "backward" and operation.call is not None:
            kinds.setdefault(trace.layers[trace.calls[operation.call].layer].path, set()).add(operation.name)
    assert kinds["0"] >= {"aten.convolution_backward"}
    assert kinds["1"] >= {"aten.native_batch_norm_backward"}
    assert kinds["2"] >= {"aten.threshold_backward"}
    assert kinds["5"] >= {"aten.mm"}
    assert kinds["(loss)"] >= {"aten._log_softmax_backward_data", "aten.nll_loss_backward"}
    assert all(operation.call is not None for operation in trace.operations)


def test_gradients_are_taken_as_autograd_takes_them():
    """The recording holds no tensor, so a gradient is not copied for its sake: plain parameters have no copy at all."""
    trace = trace_module(nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), features(5), CLASSES, 4)
    assert not [operation for operation in trace.operations if operation.name == "aten.copy_"]
    assert all(parameter.gradient is not None for parameter in trace.parameters)


def test_a_shared_layer_has_a_call_for_each_use():
    """Two calls, twice the work, its weights once."""
    layer = nn.Linear(6, 6)
    table = rows(Calls(lambda parts, x: parts[0](torch.relu(parts[0](x))), layer), features(6), features(6))
    assert (table["parts.0"].calls, table["parts.0"].parameters) == (2, 42)
    assert macs(table["parts.0"]) == (72, 72, 36)


def test_tied_weights_are_one_parameter():
    """An embedding that is also the output layer."""
    embedding, head = nn.Embedding(11, 5), nn.Linear(5, 11, bias=False)
    head.weight = embedding.weight
    trace = trace_module(nn.Sequential(embedding, head), Value((4, 3), "int64"), features(3, 11), 4)
    assert [parameter.path for parameter in trace.parameters] == ["0.weight"]


def test_a_frozen_layer_is_not_charged_a_weight_gradient():
    """Its input gradient remains; frozen weights are counted as frozen."""
    module = nn.Sequential(nn.Linear(9, 8), nn.Linear(8, 7), nn.Linear(7, 5))
    module[1].requires_grad_(False)
    counts = count_trace(trace_module(module, features(9), features(5), 4), "model")
    table = {row.name: row for row in counts.layers}
    assert macs(table["1"]) == (56, 0, 56)
    assert counts.parameters.frozen == 63


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_weight_gradients_are_not_overcounted(groups):
    """A known error of torch's own counter: groups times too many."""
    each = 4 * 4 * 9 * 4 * 4 // groups
    table = rows(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=groups)), features(4, 6, 6), features(4, 4, 4))
    assert macs(table["1"]) == (each, each, each)


def test_fused_attention_on_the_cpu_is_counted():
    """Another: counted as 0 there. H=2, L=6, E=4: two products forward, four backward."""

    def attend(parts, x):
        query, key, value = (part(x).view(4, 6, 2, 4).transpose(1, 2) for part in parts)
        return nn.functional.scaled_dot_product_attention(query, key, value)

    module = Calls(attend, *(nn.Linear(8, 8) for _ in range(3)))
    trace = trace_module(module, features(6, 8), features(2, 6, 4), 4)
    assert any("flash_attention" in operation.name for operation in trace.operations)
    table = {row.name: row for row in count_trace(trace, "model").layers}
    assert macs(table["Calls"]) == (2 * 6 * 6 * 8, 0, 2 * 2 * 6 * 6 * 8)
    assert macs(table["parts.0"]) == (6 * 8 * 8, 6 * 8 * 8, 0)


def test_attention_without_fusing_costs_the_same():
    """nn.MultiheadAttention with and without its weights returned, and with dropout."""
    plain = rows(
        Calls(lambda parts, x: parts[0](x, x, x)[0], nn.MultiheadAttention(8, 2, batch_first=True)), *[features(6, 8)] * 2
    )
    fused = Calls(lambda parts, x: parts[0](x, x, x, need_weights=False)[0], nn.MultiheadAttention(8, 2, batch_first=True))
    assert macs(rows(fused, features(6, 8), features(6, 8))["parts.0"]) == macs(plain["parts.0"])


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_part_keeps_its_calls_and_its_gradients(reentrant):
    """What runs again in the backward pass is counted as such, on its layer, and is not another call."""
    from torch.utils.checkpoint import checkpoint

    parts = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 2)

    def run(parts, x):
        hidden = checkpoint(lambda h: torch.relu(parts[1](torch.relu(parts[0](h)))), x, use_reentrant=reentrant)
        return parts[2](hidden)

    module = nn.Sequential(nn.Linear(8, 8), Calls(run, *parts))
    table = rows(module, features(8), features(2))
    assert macs(table["1.parts.0"]) == (128, 128, 128)
    assert table["1.parts.0"].calls == 1
    assert table["1.parts.0"].backward.macs == 4 * 3 * 128


@pytest.mark.parametrize("fused", ["foreach", "fused", "for-loop"])
def test_an_optimizer_costs_each_weight_the_same_however_it_is_run(fused):
    """One operation on a list is one operation for each weight, on the row of its layer."""
    options = {} if fused == "for-loop" else {fused: True}
    module = nn.Sequential(nn.Linear(9, 8, bias=False), nn.Linear(8, 2, bias=False))
    table = rows(module, features(9), features(2), optimizer=lambda p: torch.optim.SGD(p, 0.1, 0.9, **options))
    assert [table[name].update.other_flops for name in ("0", "1")] == [5 * 72, 5 * 16] if fused == "fused" else [4 * 72, 4 * 16]


def test_the_second_step_is_traced_not_the_first():
    """The optimizer's state is there already, and is listed."""
    trace = trace_module(nn.Linear(9, 2), features(9), features(2), 4, optimizer=torch.optim.Adam)
    assert not [o for o in trace.operations if o.phase == "update" and "zeros" in o.name]
    shapes = sorted(trace.values[number].shape for number in trace.optimizer_state)
    assert shapes == [(), (), (2,), (2,), (2, 9), (2, 9)]


def test_inputs_and_labels_come_first_features_then_labels():
    """Several inputs by place or by name; labels in a structure of their own."""
    module = Calls(lambda parts, a, b: parts[0](a) + parts[0](b), nn.Linear(3, 2))
    trace = trace_module(module, (features(3), features(3)), features(2), 4)
    assert [trace.values[number].shape for number in trace.inputs] == [(4, 3), (4, 3), (4, 2)]


def test_a_number_that_is_read_for_logging_is_noted():
    """item() of a float does not stop the trace, but the reader is told."""

    def logs(parts, x):
        assert isinstance(x.mean().item(), float)
        return parts[0](x)

    trace = trace_module(Calls(logs, nn.Linear(3, 2)), features(3), features(2), 4)
    assert any("reads numbers" in note for note in trace.notes)


@pytest.mark.parametrize(
    ("module", "x", "error", "text"),
    [
        (lambda: "text", features(3), NotAModelError, "str"),
        (lambda: nn.Linear(5, 2), features(3), ModelDoesNotFitError, "float32\\[4, 3\\]"),
        (lambda: nn.LazyLinear(2), features(3), ModelDoesNotFitError, "lazy"),
        (
            lambda: Calls(lambda parts, x: parts[0](x if (x > 0).any() else -x), nn.Linear(3, 2)),
            features(3),
            TracingError,
            "torch.where",
        ),
        (
            lambda: Calls(lambda parts, x: parts[0](x[x[:, 0] > 0]), nn.Linear(3, 2)),
            features(3),
            TracingError,
            "values of its data",
        ),
    ],
)
def test_what_cannot_be_traced_is_refused_with_a_way_out(module, x, error, text):
    """Not a module, data that does not fit, shapes not known yet, branches and sizes that depend on data."""
    with pytest.raises(error, match=text):
        trace_module(module(), x, features(2), 4)


def test_a_module_without_weights_is_counted_forward():
    """There is nothing to train, and the note says so."""
    counts = count(nn.Flatten(), 4, torch.zeros(4, 3, 2), torch.zeros(4, 6))
    assert [row.name for row in counts.layers] == ["Flatten", "(loss)"]
    assert any("nothing is trained" in note for note in counts.notes)


@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.Conv1d(2, 2, 1)], ids=["linear", "conv"])
def test_types_that_do_not_fit_are_refused_with_the_layer(layer):
    """As a real step refuses them: a module in half precision and features that are not."""
    with pytest.raises(ModelDoesNotFitError, match=r"(?s)float.*Layer: 0"):
        count(nn.Sequential(layer.half()), 4, torch.zeros(4, 2, 3), torch.zeros(4, 2, 2))


def test_layers_inside_a_transform_are_counted():
    """``vmap`` over samples costs what a call on all of them does."""
    plain = count(nn.Linear(3, 2), 4, torch.zeros(4, 3), torch.zeros(4, 2))
    mapped = count(
        Calls(lambda parts, x: torch.func.vmap(parts[0])(x), nn.Linear(3, 2)), 4, torch.zeros(4, 3), torch.zeros(4, 2)
    )
    assert mapped.per_sample.training_macs == plain.per_sample.training_macs == 2 * 6


def test_each_weight_is_on_the_row_of_what_uses_it():
    """A layer that is not called: its weights are its caller's if that uses them, and stay on its own row if nothing does."""
    module = Calls(lambda parts, x: nn.functional.linear(x, parts[0].weight), nn.Linear(3, 2, bias=False), nn.Linear(5, 7))
    counts = count(module, 4, torch.zeros(4, 3), torch.zeros(4, 2))
    found = {row.name: (row.parameters, row.calls, row.forward_macs) for row in counts.layers if row.parameters}
    assert found == {"Calls": (6, 1, 6), "parts.1": (42, 0, 0)}


def test_uses_of_weights_under_autocast():
    """Each weight of both layers is used once, also where the backward pass makes a view that is its copy in half precision."""

    def half(parts, x):
        with torch.autocast("cpu", torch.bfloat16):
            return parts[1](parts[0](x)).float()

    counts = count(Calls(half, nn.Linear(3, 3), nn.Linear(3, 2)), 4, torch.zeros(4, 3), torch.zeros(4, 2))
    assert {row.name: row.uses_per_weight for row in counts.layers if row.parameters} == {"parts.0": 1, "parts.1": 1}


def test_an_optimizer_that_needs_a_closure_is_refused_by_name():
    """LBFGS has no step of its own."""
    with pytest.raises(TracingError, match="LBFGS"):
        trace_module(nn.Linear(3, 2), features(3), features(2), 4, optimizer=torch.optim.LBFGS)


# --- Keras on the torch backend ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "torch"}
    script = Path(__file__).with_name("steps_on_keras.py")
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_of_a_keras_model_changes(told):
    """Weights, gradients, metrics, optimizer, seeds, modes and random state, to the bit; also after an error."""
    assert told["changed"] == []
    assert told["changed_by_error"] == []


def test_every_optimizer_of_keras_is_traced(told):
    """Also those that read their step counter or their learning rate in Python; nothing uncounted."""
    assert told["optimizers"] == {}


def test_a_step_of_its_own_is_traced(told):
    """A custom train_step, with a loss and a clipping that Keras does not know."""
    assert told["custom_step"]["uncounted"] == []
    assert told["custom_step"]["training_macs"] == 12 * 2 + 6 * 3


def test_a_layer_that_runs_again_in_the_backward_pass_is_one_call(told):
    """Under keras.RematScope."""
    assert told["checkpointed"] == [1, 20, 20, 20, 4 * (20 + 20 + 20)]


def test_a_step_that_decides_by_data_is_refused(told):
    """With the line that works."""
    assert told["decides"][0] == "TracingError"
