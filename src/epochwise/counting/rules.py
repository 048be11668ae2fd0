"""The register of rules: what one run of an operation costs, by dialect and operation name.

A rule is a small function with the formula and its argument in its docstring. Families of operations whose formula is the
same are registered by list. A second rule for the same operation is refused; an operation without a rule is reported by
:mod:`epochwise.counting.assembling` as ``uncounted``.

Conventions, the same in every dialect:

* MACs: contractions only (convolution, matrix product, einsum, attention). Padding counts like data, as
  in the literature.
* Element-wise: 1 FLOP per element of the output for each arithmetic operation, comparison, selection and elementary function
  (``exp``, ``tanh``, ``sqrt``, ...). What an elementary function costs differs between processors and libraries, so any other
  figure would be a machine's, not the model's. An operation that stands for several (``sigmoid`` = negate, exp, add, divide)
  is charged for as many as its plain formula has, so that fused and unfused programs come out alike.
* Reductions: one operation for each element that is folded in: elements read - elements written.
* Free: gives its first input another shape or order of axes (reshape, transpose, view), or spreads it out (broadcast). 0 FLOPs;
  where the number of elements stays the same, or was 1, the output is the same tensor.
* Movement and lookup: copies, casts, padding, slices, concatenation, gathers. 0 FLOPs; their cost is bytes.
* Random bits: 0 FLOPs (integer hashing).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Literal, NamedTuple

from epochwise.errors import EpochwiseError
from epochwise.tracing.trace import Operation, Value

Family = Literal["contraction", "elementwise", "reduction", "pooling", "free", "movement", "lookup", "random", "other"]
"""What kind of work an operation does; ``free`` outputs are aliases of the first input."""

Role = Literal["forward", "recompute", "weight_gradient", "input_gradient"]
"""What a contraction computes; ``recompute`` is forward work done again in the backward pass (checkpointing)."""

DIALECTS = ("jax", "aten", "tensorflow")


class DuplicateRuleError(EpochwiseError):
    """Two rules for one operation; a fault of epochwise or of an extension of it."""


class Occurrence(NamedTuple):
    """An operation as a rule sees it.

    Attributes:
        operation: name, attributes and the like.
        inputs: shape and dtype of what it reads.
        outputs: shape and dtype of what it writes.
        role: what it computes, if it is a contraction; ``forward`` otherwise.
    """

    operation: Operation
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    role: Role = "forward"

    @property
    def output_elements(self) -> int:
        """Elements of all outputs."""
        return sum(value.elements for value in self.outputs)

    def attribute(self, name: str, default: object = None) -> object:
        """One of the operation's attributes."""
        return self.operation.attributes.get(name, default)


class Cost(NamedTuple):
    """What one run of an operation costs.

    Attributes:
        macs: of the contraction that it is; counted under its role.
        other_flops: of anything else.
        weight_gradient_macs: of an operation that computes both gradients at once; leave ``macs`` 0 then.
        input_gradient_macs: as above.
    """

    macs: int = 0
    other_flops: int = 0
    weight_gradient_macs: int = 0
    input_gradient_macs: int = 0


Formula = Callable[[Occurrence], Cost]


class Rule(NamedTuple):
    """A registered rule.

    Attributes:
        formula: from an occurrence to its cost.
        family: see :data:`Family`.
        operands: places of the two factors among the inputs of a contraction.
    """

    formula: Formula
    family: Family
    operands: tuple[int, int] = (0, 1)


_RULES: dict[tuple[str, str], Rule] = {}


def rule(dialect: str, *names: str, family: Family, operands: tuple[int, int] = (0, 1)) -> Callable[[Formula], Formula]:
    """Register the decorated formula for these operations of a dialect.

    Args:
        dialect: ``jax``, ``aten`` or ``tensorflow``.
        names: operation names as the trace has them.
        family: see :data:`Family`.
        operands: places of the two factors among the inputs, for a contraction.

    Raises:
        DuplicateRuleError: there is a rule for one of them.
    """

    def register(formula: Formula) -> Formula:
        for name in names:
            if (dialect, name) in _RULES:
                raise DuplicateRuleError(
                    f"There are two rules for the operation {name!r} of {dialect}.",
                    cause="a list of a family holds an operation that has a rule of its own",
                    remedy="keep one of the two in epochwise/counting/rules_*.py",
                )
        for name in dict.fromkeys(names):
            _RULES[dialect, name] = Rule(formula, family, operands)
        return formula

    return register


def find(dialect: str, name: str) -> Rule | None:
    """The rule for an operation, ``None`` if there is none."""
    _load(dialect)
    return _RULES.get((dialect, name))


@cache
def _load(dialect: str) -> None:
    importlib.import_module(f"epochwise.counting.rules_{dialect}")


def elementwise(dialect: str, names: Iterable[str], *, flops: int = 1) -> None:
    """Register element-wise operations: ``flops`` for each element of the outputs."""

    def formula(at: Occurrence) -> Cost:
        return Cost(other_flops=flops * at.output_elements)

    rule(dialect, *names, family="elementwise")(formula)


def reductions(dialect: str, names: Iterable[str], *, flops: int = 1) -> None:
    """Register reductions of the first input: ``flops`` for each element folded in, elements read - elements written."""

    def formula(at: Occurrence) -> Cost:
        return Cost(other_flops=flops * max(0, at.inputs[0].elements - at.outputs[0].elements))

    rule(dialect, *names, family="reduction")(formula)


def free(dialect: str, names: Iterable[str]) -> None:
    """Register operations that only give their first input another shape or order, or spread it out: no cost."""
    rule(dialect, *names, family="free")(no_cost)


def movement(dialect: str, names: Iterable[str]) -> None:
    """Register operations that copy, cast or place data: no FLOPs."""
    rule(dialect, *names, family="movement")(no_cost)


def lookups(dialect: str, names: Iterable[str]) -> None:
    """Register operations that read as many elements of their first input as they write (gather, embedding): no FLOPs."""
    rule(dialect, *names, family="lookup")(no_cost)


def random_bits(dialect: str, names: Iterable[str]) -> None:
    """Register generators of random bits: no FLOPs."""
    rule(dialect, *names, family="random")(no_cost)


def no_cost(at: Occurrence) -> Cost:
    """Nothing but bytes."""
    del at
    return Cost()


def convolution_macs(
    batch: int, input_positions: int, output_positions: int, taps: int, in_channels: int, out_channels: int, groups: int = 1
) -> int:
    """MACs of a convolution, and of each of its two gradients.

    ``batch x min(input positions, output positions) x taps x in_channels x out_channels / groups``

    An ordinary convolution applies its taps once for each output position (stride > 1: fewer than input positions); a
    transposed one once for each input position. Both gradients pair the same positions with the same taps, so they cost
    the same, however a framework lowers them (with zeros put between the values of a strided gradient, for example).

    Args:
        batch: samples.
        input_positions: product of the spatial sizes of what goes into the layer, without padding.
        output_positions: product of the spatial sizes of what comes out of it.
        taps: product of the spatial sizes of the kernel, without the gaps of dilation.
        in_channels: all channels that go in.
        out_channels: all channels that come out.
        groups: independent parts that the channels are divided into.

    Returns:
        MACs of the whole batch.
    """
    return batch * min(input_positions, output_positions) * taps * in_channels * out_channels // groups


def matmul_macs(batch: int, rows: int, inner: int, columns: int) -> int:
    """MACs of ``batch`` products of a ``rows x inner`` with an ``inner x columns`` matrix: the product of the four."""
    return math.prod((batch, rows, inner, columns))
