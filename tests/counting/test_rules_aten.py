"""What ATen calls cost, against formulas worked out by hand."""

from __future__ import annotations

import pytest

from epochwise.counting.rules import Cost, Occurrence, find
from epochwise.tracing.trace import Operation, Value


def cost(name, inputs, outputs, **attributes):
    operation = Operation(f"aten.{name}", (), (), "forward", attributes=attributes)
    values = [tuple(Value(s, "float32") for s in shapes) for shapes in (inputs, outputs)]
    return find("aten", f"aten.{name}").formula(Occurrence(operation, *values))


@pytest.mark.parametrize(
    ("name", "inputs", "output", "macs", "flops"),
    [
        ("mm", [(3, 4), (4, 5)], (3, 5), 60, 0),
        ("addmm", [(5,), (3, 4), (4, 5)], (3, 5), 60, 15),
        ("bmm", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 120, 0),
        ("baddbmm", [(2, 3, 5), (2, 3, 4), (2, 4, 5)], (2, 3, 5), 120, 30),
        ("_grouped_mm", [(6, 4), (2, 4, 5)], (6, 5), 120, 0),
        ("_grouped_mm", [(3, 4), (4, 10)], (2, 3, 5), 120, 0),
        ("_grouped_mm", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 120, 0),
        ("mv", [(3, 4), (4,)], (3,), 12, 0),
        ("dot", [(4,), (4,)], (), 4, 0),
        ("linear", [(2, 3, 4), (5, 4), (5,)], (2, 3, 5), 120, 30),
    ],
)
def test_products_cost_rows_times_inner_times_columns(name, inputs, output, macs, flops):
    """And one addition for each element where something is added."""
    assert cost(name, inputs, [output]) == Cost(macs, flops)


def test_nothing_is_added_with_beta_zero():
    """``addmm(beta=0)`` is a plain product."""
    assert cost("addmm", [(5,), (3, 4), (4, 5)], [(3, 5)], beta=0) == Cost(60, 0)


@pytest.mark.parametrize(
    ("given", "kernel", "made", "groups", "macs"),
    [
        ((2, 4, 8, 8), (6, 4, 3, 3), (2, 6, 6, 6), 1, 2 * 36 * 9 * 4 * 6),
        ((2, 4, 8, 8), (6, 2, 3, 3), (2, 6, 6, 6), 2, 2 * 36 * 9 * 4 * 6 // 2),
        ((2, 4, 8, 8), (4, 1, 3, 3), (2, 4, 6, 6), 4, 2 * 36 * 9 * 4),
        ((2, 4, 8, 8), (4, 6, 3, 3), (2, 6, 17, 17), 1, 2 * 64 * 9 * 4 * 6),  # transposed: as often as it has inputs
        ((4, 9), (6, 4, 3), (6, 7), 1, 7 * 3 * 4 * 6),  # one axis, no batch
    ],
)
def test_a_convolution_and_its_gradients_cost_the_same(given, kernel, made, groups, macs):
    """Also with groups, where the gradient of the kernel is not ``groups`` times dearer."""
    assert cost("convolution", [given, kernel], [made], groups=groups) == Cost(macs)
    back = cost("convolution_backward", [made, given, kernel], [], groups=groups, output_mask=(True, True, False))
    assert (back.input_gradient_macs, back.weight_gradient_macs, back.other_flops) == (macs, macs, 0)


@pytest.mark.parametrize("mask", [(True, False, False), (False, True, False), (False, False, True), (False, True, True)])
def test_only_the_gradients_that_are_asked_for_are_charged(mask):
    """``output_mask`` of input, kernel and bias; the bias's is a sum over samples and positions."""
    back = cost("convolution_backward", [(2, 6, 6, 6), (2, 4, 8, 8), (6, 4, 3, 3)], [], groups=1, output_mask=mask)
    assert [bool(back.input_gradient_macs), bool(back.weight_gradient_macs), back.other_flops] == [
        *mask[:2],
        mask[2] * (432 - 6),
    ]


@pytest.mark.parametrize("kind", ["flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention"])
def test_fused_attention_is_two_products_and_four_for_its_gradients(kind):
    """B=2, H=3, L=5, S=7, E=4, V=6: B H L S (E + V); never 0, and what the kernel computes again is not counted."""
    query, key, value, out = (2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), (2, 3, 5, 6)
    macs = 2 * 3 * 5 * 7 * (4 + 6)
    forward = cost(f"_scaled_dot_product_{kind}", [query, key, value], [out])
    backward = cost(f"_scaled_dot_product_{kind}_backward", [out, query, key, value, out], [query, key, value])
    assert forward.macs == macs
    assert (backward.input_gradient_macs, backward.weight_gradient_macs) == (2 * macs, 0)


def test_a_fused_lstm_layer_multiplies_both_kernels_at_each_step():
    """T=7, B=2, I=3, H=5: T B 4H (I + H); and as much again for each kind of gradient."""
    inputs = [(7, 2, 3), (20, 3), (20, 5), (20,), (20,), (2, 5), (2, 5)]
    macs = 7 * 2 * 20 * (3 + 5)
    assert cost("mkldnn_rnn_layer", inputs, [(7, 2, 5)]).macs == macs
    back = cost("mkldnn_rnn_layer_backward", inputs, [])
    assert (back.weight_gradient_macs, back.input_gradient_macs) == (macs, macs)


@pytest.mark.parametrize(
    ("name", "shape", "attributes", "flops"),
    [
        ("add", (3, 4), {}, 12),
        ("add_", (3, 4), {"alpha": -0.1}, 24),
        ("_foreach_add_", (3, 4), {"alpha": -0.1}, 24),
        ("relu", (3, 4), {}, 12),
        ("sigmoid", (3, 4), {}, 48),
        ("addcmul_", (3, 4), {}, 36),
        ("gelu", (3, 4), {"approximate": "none"}, 60),
        ("gelu", (3, 4), {"approximate": "tanh"}, 108),
        ("native_batch_norm", (2, 3, 4), {"training": True}, 8 * 24),
        ("native_batch_norm", (2, 3, 4), {"training": False}, 4 * 24),
        ("_softmax", (3, 4), {"dim": 1}, 5 * 12 - 2 * 3),
        ("_log_softmax", (3, 4), {"dim": -1}, 5 * 12 - 3),
    ],
)
def test_element_wise_work_is_elements_times_operations(name, shape, attributes, flops):
    """An operation that stands for several is charged for as many as its plain formula has."""
    assert cost(name, [shape], [shape], **attributes) == Cost(other_flops=flops)


@pytest.mark.parametrize(
    ("name", "attributes", "flops"),
    [
        ("max_pool2d_with_indices", {"kernel_size": (2, 2)}, 3 * 9),
        ("max_pool2d_with_indices", {"kernel_size": (2,)}, 3 * 9),
        ("avg_pool2d", {"kernel_size": (2, 2)}, 4 * 9),
        ("sum", {}, 36 - 9),
        ("mean", {}, 36),
    ],
)
def test_reductions_cost_one_operation_for_each_element_folded_in(name, attributes, flops):
    """6x6 to 3x3; a mean also divides."""
    assert cost(name, [(1, 1, 6, 6)], [(1, 1, 3, 3)], **attributes) == Cost(other_flops=flops)


def test_fused_optimizers_are_charged_for_each_weight_once():
    """They write several tensors for a weight: itself, its gradient, its moments."""
    shape = (10,)
    assert cost("_fused_sgd_", [shape] * 2, [shape] * 2, momentum=0.0) == Cost(other_flops=20)
    assert cost("_fused_sgd_", [shape] * 3, [shape] * 3, momentum=0.9) == Cost(other_flops=50)
    assert cost("_fused_adam_", [shape] * 5, [shape] * 4) == Cost(other_flops=130)
    assert cost("_fused_adamw_", [shape] * 6, [shape] * 5, amsgrad=True, weight_decay=0.1) == Cost(other_flops=160)


@pytest.mark.parametrize("name", ["view", "permute", "clone", "expand", "_to_copy", "cat", "embedding", "bernoulli_", "zeros"])
def test_views_copies_lookups_and_random_bits_have_no_flops(name):
    """They cost bytes at most."""
    assert cost(name, [(3, 4)], [(3, 4)]) == Cost()
