"""The register of rules, and the formulas that all dialects share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochwise.counting import rules
from epochwise.counting.rules import Cost, DuplicateRuleError, Occurrence, convolution_macs, elementwise, find, rule
from epochwise.tracing.trace import Operation, Value

sizes = st.integers(1, 12)


def occurrence(name, inputs, outputs, role="forward", **attributes):
    operation = Operation(name, (), (), "forward", attributes=attributes)
    return Occurrence(operation, tuple(Value(s, "float32") for s in inputs), tuple(Value(s, "float32") for s in outputs), role)


def cost(name, inputs, outputs, role="forward", **attributes):
    return find("jax", name).formula(occurrence(name, inputs, outputs, role, **attributes))


@pytest.fixture
def empty_register(monkeypatch):
    """Rules made in a test are forgotten after it."""
    monkeypatch.setattr(rules, "_RULES", {})


@pytest.mark.usefixtures("empty_register")
def test_a_second_rule_for_an_operation_is_refused():
    """Also where a family's list holds it; the message names the operation, and nothing is registered."""
    rule("jax", "twice", family="other")(lambda at: Cost(macs=1))
    with pytest.raises(DuplicateRuleError, match="twice"):
        elementwise("jax", ["new", "twice"])
    assert set(rules._RULES) == {("jax", "twice")}


def test_an_operation_without_a_rule_has_none():
    """Not a rule that costs nothing."""
    assert find("jax", "no such operation") is None


@given(batch=sizes, x=sizes, o=sizes, taps=sizes, cin=sizes, cout=sizes, groups=st.integers(1, 4))
def test_a_convolution_costs_the_same_in_both_directions(batch, x, o, taps, cin, cout, groups):
    """Exchanging input and output (the gradients, the transposed convolution) changes nothing; groups divide."""
    macs = convolution_macs(batch, x, o, taps, groups * cin, groups * cout, groups)
    assert macs == convolution_macs(batch, o, x, taps, groups * cout, groups * cin, groups)
    assert macs == batch * min(x, o) * taps * cin * cout * groups


@given(batch=sizes, size=st.integers(3, 12), taps=st.integers(1, 3), cin=sizes, cout=sizes, stride=st.integers(1, 3))
def test_jax_forward_and_both_gradients_of_a_convolution_agree(batch, size, taps, cin, cout, stride):
    """The rule takes the kernel, the samples and the positions from the right places in each role."""
    out = (size - taps) // stride + 1
    x, k, o = (batch, size, cin), (taps, cin, cout), (batch, out, cout)
    plain = {"lhs_spec": (0, 2, 1), "rhs_spec": (2, 1, 0), "out_spec": (0, 2, 1)}
    swapped = {"lhs_spec": (2, 0, 1), "rhs_spec": (2, 0, 1), "out_spec": (1, 2, 0)}
    forward = cost("conv_general_dilated", [x, k], [o], dimension_numbers=plain)
    backward = {"lhs_spec": (0, 2, 1), "rhs_spec": (1, 2, 0), "out_spec": (0, 2, 1)}
    inputs = cost("conv_general_dilated", [o, k], [x], "input_gradient", dimension_numbers=backward)
    weights = cost("conv_general_dilated", [x, o], [k], "weight_gradient", dimension_numbers=swapped)
    assert forward == inputs == weights == Cost(macs=batch * out * taps * cin * cout)


def test_jax_dot_general_sums_over_the_contracted_axes():
    """Batched: 2 x 3 x 4 by 2 x 4 x 5 contracts 4."""
    numbers = (((2,), (1,)), ((0,), (0,)))
    assert cost("dot_general", [(2, 3, 4), (2, 4, 5)], [(2, 3, 5)], dimension_numbers=numbers).macs == 2 * 3 * 4 * 5


def test_jax_pooling_and_its_gradient():
    """2 x 2 windows: 3 comparisons forward, 3 comparisons and an addition backward."""
    window = (1, 2, 2, 1)
    assert cost("reduce_window_max", [(1, 4, 4, 1)], [(1, 2, 2, 1)], window_dimensions=window).other_flops == 4 * 3
    back = cost("select_and_scatter_add", [(1, 2, 2, 1), (1, 4, 4, 1)], [(1, 4, 4, 1)], window_dimensions=window)
    assert back.other_flops == 4 * 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [("add", 6), ("exp", 6), ("logistic", 24), ("reshape", 0), ("convert_element_type", 0), ("random_bits", 0)],
)
def test_families_of_jax_primitives(name, expected):
    """One FLOP for each element, as many as the plain formula has for a composed one, none for what moves data."""
    assert cost(name, [(2, 3)], [(2, 3)]).other_flops == expected


def test_a_reduction_costs_what_is_folded_in():
    """Summing 12 numbers into 3 takes 9 additions."""
    assert cost("reduce_sum", [(3, 4)], [(3,)]).other_flops == 9


def test_every_rule_belongs_to_a_known_dialect_and_family():
    """A misspelt dialect would be a silent zero."""
    find("jax", "add")
    families = set(rules.Family.__args__)
    assert {dialect for dialect, _ in rules._RULES} <= set(rules.DIALECTS)
    assert {entry.family for entry in rules._RULES.values()} <= families
