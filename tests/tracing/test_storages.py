"""The life of storages: what a step makes, when it lets it go, what autograd keeps; of steps small enough to see through."""

from __future__ import annotations

import pytest

from epochwise.counting import trace_model

pytestmark = pytest.mark.torch

torch = pytest.importorskip("torch")


class Double(torch.nn.Module):
    """``tanh(w x)``, after which its input is thrown away; and a window on what it gives."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(6))
        self.register_buffer("table", torch.zeros(7))

    def forward(self, x):
        return torch.tanh(self.weight * x)[:, :2] + self.table[:2] * torch.tensor([2.0, 3.0])


def traced():
    x = torch.zeros(4, 6)
    return trace_model(Double(), 4, x, torch.zeros(4, 2))


def made_by(trace, name):
    place = next(place for place, operation in enumerate(trace.operations) if operation.name == name)
    return place, [storage for storage in trace.storages if storage.born == place]


def test_what_is_there_before_the_step_has_no_birth_and_outlives_it():
    """Batch, labels, weight and buffer."""
    before = [storage for storage in traced().storages if storage.born is None and storage.freed is None]
    assert sorted(storage.bytes for storage in before) == sorted([4 * 24, 4 * 8, 4 * 6, 4 * 7])


def test_a_tensor_that_nothing_keeps_is_freed_at_once():
    """The product goes as soon as its tanh is there: autograd keeps the tanh, which is whole though a window alone is used."""
    trace = traced()
    place, (product,) = made_by(trace, "aten.mul")
    tanh_place, (tanh,) = made_by(trace, "aten.tanh")
    assert (product.bytes, product.kept, product.freed) == (96, False, tanh_place + 1)
    assert (tanh.bytes, tanh.kept) == (96, True)
    assert tanh.freed is not None
    assert trace.operations[tanh.freed - 1].phase == "backward"
    assert place < tanh_place


def test_a_view_makes_no_storage():
    """Slices lie in what they are slices of."""
    trace = traced()
    assert [operation for operation in trace.operations if operation.name == "aten.slice"]
    assert made_by(trace, "aten.slice")[1] == []


def test_a_gradient_stays_to_the_end_of_the_step():
    """The weight's gradient is not freed, and as large as the weight."""
    trace = traced()
    staying = [storage for storage in trace.storages if storage.born is not None and storage.freed is None]
    assert 4 * 6 in [storage.bytes for storage in staying]
    assert all(trace.operations[storage.born].phase != "update" for storage in staying)


def test_nothing_is_kept_where_nothing_learns():
    """A frozen module's step has no backward pass of its own; counting it keeps nothing."""
    module = Double()
    module.extra = torch.nn.Parameter(torch.zeros(2))
    module.weight.requires_grad_(False)
    forward = module.forward
    module.forward = lambda x: forward(x) + module.extra
    trace = trace_model(module, 4, torch.zeros(4, 6), torch.zeros(4, 2))
    _, (tanh,) = made_by(trace, "aten.tanh")
    assert not tanh.kept


def test_a_module_that_uses_torch_func_is_counted():
    """``torch.func`` refuses hooks on what autograd keeps; the count puts its own aside meanwhile."""

    class Slope(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.last = torch.nn.Linear(6, 2)

        def forward(self, x):
            return self.last(x * torch.func.grad(lambda at: torch.tanh(at).sum())(x))

    trace = trace_model(Slope(), 4, torch.zeros(4, 6), torch.zeros(4, 2))
    assert any(storage.kept and storage.born is not None for storage in trace.storages)


class _Doubled(torch.autograd.Function):
    """Keeps what it gives, and makes nodes of its own on the way."""

    @staticmethod
    def forward(ctx, x):
        with torch.enable_grad():
            (x.detach().requires_grad_() * 3).sum()
        doubled = 2 * x
        ctx.save_for_backward(doubled)
        return doubled

    @staticmethod
    def backward(ctx, gradient):
        (doubled,) = ctx.saved_tensors
        return gradient * 2 + 0 * doubled


def test_what_a_function_keeps_of_its_own_results_goes_with_it():
    """Its node holds the result and the result its node; both are let go in the backward pass."""

    class Doubles(torch.nn.Linear):
        def forward(self, x):
            return _Doubled.apply(super().forward(x)).sin()

    trace = trace_model(Doubles(6, 2), 4, torch.zeros(4, 6), torch.zeros(4, 2))
    place = next(place for place, operation in enumerate(trace.operations) if operation.name == "aten.sin") - 1
    assert trace.operations[place].name == "aten.mul"
    (doubled,) = [storage for storage in trace.storages if storage.born == place]
    assert doubled.kept
    assert doubled.freed is not None
