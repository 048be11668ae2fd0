"""What operations of a TensorFlow graph cost, against formulas worked out by hand."""

from __future__ import annotations

import pytest

from epochwise.counting.rules import Cost, Occurrence, find
from epochwise.tracing.trace import Operation, Value


def cost(name, inputs, outputs, **attributes):
    operation = Operation(name, (), (), "forward", attributes=attributes)
    values = [tuple(Value(s, "float32") for s in shapes) for shapes in (inputs, outputs)]
    return find("tensorflow", name).formula(Occurrence(operation, *values))


@pytest.mark.parametrize(
    ("name", "left", "right", "attributes"),
    [
        ("MatMul", (3, 4), (4, 5), {}),
        ("MatMul", (4, 3), (4, 5), {"transpose_a": True}),
        ("MatMul", (3, 4), (5, 4), {"transpose_b": True}),
        ("BatchMatMulV2", (1, 3, 4), (1, 4, 5), {}),
        ("BatchMatMulV2", (1, 4, 3), (1, 4, 5), {"adj_x": True}),
        ("BatchMatMulV2", (1, 3, 4), (1, 5, 4), {"adj_y": True}),
    ],
)
def test_products_cost_rows_times_inner_times_columns(name, left, right, attributes):
    """However the factors are stored."""
    output = (3, 5) if name == "MatMul" else (1, 3, 5)
    assert cost(name, [left, right], [output], **attributes) == Cost(3 * 4 * 5)


@pytest.mark.parametrize(
    ("equation", "inputs", "output", "macs"),
    [
        ("abc,cd->abd", [(2, 3, 4), (4, 5)], (2, 3, 5), 2 * 3 * 4 * 5),
        ("...c,cd->...d", [(2, 3, 4), (4, 5)], (2, 3, 5), 2 * 3 * 4 * 5),
        ("...ab,...bc->...ac", [(7, 2, 3), (3, 4)], (7, 2, 4), 7 * 2 * 3 * 4),
        ("bi,bj->bij", [(2, 3), (2, 4)], (2, 3, 4), 2 * 3 * 4),
    ],
)
def test_an_einsum_costs_the_product_of_all_its_sizes(equation, inputs, output, macs):
    """Axes under an ellipsis included."""
    assert cost("Einsum", inputs, [output], equation=equation) == Cost(macs)


def test_an_einsum_of_one_factor_is_a_sum():
    """No MACs."""
    assert cost("Einsum", [(3, 4)], [(3,)], equation="ab->a") == Cost(other_flops=9)


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_a_convolution_and_its_gradients_cost_the_same(data_format):
    """8x8x4 to 6x6x6 by 3x3: positions x taps x channels x channels."""
    shape = (lambda *s: (s[0], s[3], s[1], s[2])) if data_format == "NCHW" else (lambda *s: s)
    given, kernel, made = shape(2, 8, 8, 4), (3, 3, 4, 6), shape(2, 6, 6, 6)
    expected = Cost(2 * 36 * 9 * 4 * 6)
    assert cost("Conv2D", [given, kernel], [made], data_format=data_format) == expected
    assert cost("Conv2DBackpropInput", [(4,), kernel, made], [given], data_format=data_format) == expected
    assert cost("Conv2DBackpropFilter", [given, (4,), made], [kernel], data_format=data_format) == expected


@pytest.mark.parametrize(
    ("name", "given", "kernel", "made", "macs"),
    [
        ("Conv2D", (2, 8, 8, 4), (3, 3, 2, 6), (2, 6, 6, 6), 2 * 36 * 9 * 2 * 6),  # two groups
        ("DepthwiseConv2dNative", (2, 8, 8, 4), (3, 3, 4, 2), (2, 6, 6, 8), 2 * 36 * 9 * 4 * 2),
        ("Conv3D", (2, 5, 5, 5, 3), (2, 2, 2, 3, 4), (2, 4, 4, 4, 4), 2 * 64 * 8 * 3 * 4),
    ],
)
def test_groups_and_axes_are_in_the_kernel(name, given, kernel, made, macs):
    """The kernel holds channels in / groups; a depthwise one holds its multiplier last."""
    assert cost(name, [given, kernel], [made]) == Cost(macs)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "attributes", "flops"),
    [
        ("AddV2", [(3, 4), (4,)], [(3, 4)], {}, 12),
        ("AddN", [(3, 4)] * 3, [(3, 4)], {}, 24),
        ("Sigmoid", [(3, 4)], [(3, 4)], {}, 48),
        ("ReluGrad", [(3, 4)] * 2, [(3, 4)], {}, 24),
        ("AssignSubVariableOp", [(3, 4)] * 2, [(3, 4)], {}, 12),
        ("Softmax", [(3, 4)], [(3, 4)], {}, 5 * 12 - 2 * 3),
        ("SparseSoftmaxCrossEntropyWithLogits", [(3, 4), (3,)], [(3,), (3, 4)], {}, 6 * 12 + 3),
        ("FusedBatchNormV3", [(2, 3, 4, 5)], [(2, 3, 4, 5)], {"is_training": True}, 8 * 120),
        ("FusedBatchNormV3", [(2, 3, 4, 5)], [(2, 3, 4, 5)], {"is_training": False}, 4 * 120),
        ("MaxPool", [(1, 6, 6, 1)], [(1, 3, 3, 1)], {"ksize": (1, 2, 2, 1)}, 3 * 9),
        ("MaxPoolGrad", [(1, 6, 6, 1), (1, 3, 3, 1), (1, 3, 3, 1)], [(1, 6, 6, 1)], {"ksize": (1, 2, 2, 1)}, 4 * 9),
        ("AvgPool", [(1, 6, 6, 1)], [(1, 3, 3, 1)], {"ksize": (1, 2, 2, 1)}, 4 * 9),
        ("Sum", [(3, 4), (1,)], [(3,)], {}, 9),
        ("Mean", [(3, 4), (1,)], [(3,)], {}, 12),
        ("BiasAddGrad", [(3, 4)], [(4,)], {}, 8),
    ],
)
def test_other_work_is_elements_times_operations(name, inputs, outputs, attributes, flops):
    """The plain formula's operations for each element."""
    assert cost(name, inputs, outputs, **attributes) == Cost(other_flops=flops)


@pytest.mark.parametrize(
    "name", ["Reshape", "Transpose", "Cast", "GatherV2", "ConcatV2", "StatelessRandomUniformV2", "TensorListStack"]
)
def test_views_copies_lookups_and_random_bits_have_no_flops(name):
    """They cost bytes at most."""
    assert cost(name, [(3, 4)], [(3, 4)]) == Cost()


def test_an_operation_that_nobody_knows_has_no_rule():
    """It is reported, not a silent zero."""
    assert find("tensorflow", "CudnnRNNV3") is None
