"""Who makes, reads and depends on what in a trace; and from that, what a contraction of the backward pass computes.

Works on any dialect: it asks the rules only for an operation's family.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from epochwise.counting.rules import Role, Rule, find
from epochwise.tracing.trace import Operation, Trace

_CARRIES = {"free", "movement"}
"""Families whose output holds the first input's numbers, in another shape, place or type."""


class Flow:
    """A trace with its rules looked up and its aliases collapsed.

    Attributes:
        trace: what it is about.
        rules: the rule of each operation, ``None`` where there is none.
        root: for each value the number of the tensor that it is a view of, itself if of none.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.rules: list[Rule | None] = [find(trace.dialect, operation.name) for operation in trace.operations]
        self.root = self._roots()
        self.parameters = {self.root[parameter.value] for parameter in trace.parameters}
        self.trainable = {self.root[parameter.value] for parameter in trace.parameters if parameter.trainable}

    def _roots(self) -> list[int]:
        """A free operation's output is its input, unless it has more or fewer elements; a spread-out scalar is the scalar."""
        values = self.trace.values
        root = list(range(len(values)))
        for operation, rule in zip(self.trace.operations, self.rules, strict=True):
            if rule is None or rule.family != "free" or not operation.inputs:
                continue
            paired = len(operation.inputs) == len(operation.outputs)
            for place, output in enumerate(operation.outputs):
                source = operation.inputs[place if paired else 0]
                if values[source].elements in (1, values[output].elements):
                    root[output] = root[source]
        return root

    def is_alias(self, place: int) -> bool:
        """Whether all that the operation at this place gives are its inputs in another shape or order."""
        return self._aliases[place]

    def is_view(self, place: int) -> bool:
        """Whether what it gives are its inputs in another shape or order, or parts of them: nothing needs to be written."""
        return self._views[place]

    @cached_property
    def _aliases(self) -> list[bool]:
        def is_alias(operation: Operation, rule: Rule | None) -> bool:
            if rule is None or rule.family != "free":
                return False
            inputs = {self.root[value] for value in operation.inputs}
            return all(self.root[output] in inputs for output in operation.outputs)

        return [is_alias(*each) for each in zip(self.trace.operations, self.rules, strict=True)]

    @cached_property
    def _views(self) -> list[bool]:
        values = self.trace.values

        def is_view(operation: Operation, rule: Rule | None) -> bool:
            if rule is None or rule.family != "free":
                return False
            largest = max((values[value].elements for value in operation.inputs), default=0)
            return all(values[output].elements <= largest for output in operation.outputs)

        each = zip(self.trace.operations, self.rules, self._aliases, strict=True)
        return [alias or is_view(operation, rule) for operation, rule, alias in each]

    @cached_property
    def maker(self) -> dict[int, int]:
        """Place of the operation that makes a tensor, by root; the last one if several write it.

        A view of a view may be the tensor again, which is not made by that.
        """
        made = {}
        for place, operation in enumerate(self.trace.operations):
            for output in operation.outputs:
                if self.root[output] == output and not self.is_alias(place):
                    made[output] = place
        return made

    @cached_property
    def born(self) -> dict[int, int]:
        """Place of the operation that first writes a tensor, by root."""
        first: dict[int, int] = {}
        for place, operation in enumerate(self.trace.operations):
            for output in operation.outputs:
                if self.root[output] == output:
                    first.setdefault(output, place)
        return first

    @cached_property
    def given(self) -> set[int]:
        """Roots that are there before the step, even if it overwrites them in place."""
        before = (*self.trace.inputs, *self.trace.optimizer_state)
        return self.parameters | {self.root[value] for value in before}

    @cached_property
    def trained(self) -> set[int]:
        """Roots of the parameters that the optimizer receives a gradient for."""
        return {self.root[p.value] for p in self.trace.parameters if p.trainable and p.gradient is not None}

    @cached_property
    def learned(self) -> set[int]:
        """Roots that a trainable parameter has a part in, through forward operations: gradients flow through them."""
        return self._reached(self.trainable)

    @cached_property
    def of_data(self) -> set[int]:
        """Roots that the batch has a part in, through forward operations."""
        return self._reached({self.root[value] for value in self.trace.inputs})

    @cached_property
    def of_parameters(self) -> set[int]:
        """Roots made of parameters alone, such as a product of two weights or a weight in another type."""
        return self._reached(self.parameters) - self.of_data

    def _reached(self, start: set[int]) -> set[int]:
        reached = set(start)
        for operation in self.trace.operations:
            if operation.phase == "forward" and any(self.root[value] in reached for value in operation.inputs):
                reached.update(self.root[value] for value in operation.outputs)
        return reached

    def origin(self, value: int) -> int:
        """The root that a value holds the numbers of, back through views, casts, slices, stacks and padding."""
        at = self.root[value]
        for _ in range(len(self.trace.operations)):
            place = self.maker.get(at)
            if place is None or at in self.given:
                return at
            rule, operation = self.rules[place], self.trace.operations[place]
            if rule is None or rule.family not in _CARRIES or not operation.inputs:
                return at
            # The largest: some operations have their axes or sizes in front.
            at = self.root[max(operation.inputs, key=lambda value: self.trace.values[value].elements)]
        return at

    @cached_property
    def calls(self) -> list[int | None]:
        """The layer call that each operation belongs to.

        A forward operation that lost its place (JAX moves what does not change out of a loop, and forgets where it stood)
        belongs to the only call that reads what it makes.
        """
        operations = self.trace.operations
        calls = [operation.call for operation in operations]
        for place in reversed(range(len(operations))):
            if calls[place] is None and operations[place].phase == "forward":
                made = {self.root[output] for output in operations[place].outputs}
                readers = {reader for value in made for reader in self.readers.get(value, ()) if reader > place}
                callers = {calls[reader] for reader in readers if operations[reader].phase == "forward"}
                if len(callers) == 1:
                    calls[place] = callers.pop()
        return calls

    @cached_property
    def _forward_factors(self) -> dict[int, list[tuple[int, int]]]:
        """By origin: the forward contractions that it is a factor of, as (place of the operation, 0 or 1 for the factor)."""
        factors: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, (operation, rule) in enumerate(zip(self.trace.operations, self.rules, strict=True)):
            forward = operation.phase == "forward" or operation.attributes.get("recomputed")
            if rule is not None and rule.family == "contraction" and forward and len(operation.inputs) > max(rule.operands):
                for factor in (0, 1):
                    factors[self.origin(operation.inputs[rule.operands[factor]])].append((place, factor))
        return factors

    def role(self, place: int) -> Role:
        """What the contraction at this place computes.

        See :meth:`partner`: the gradient of the other factor is a weight gradient if that is made of parameters alone, else an
        input gradient. Where there is no partner: a weight gradient if all that becomes of the output is a parameter's
        gradient, else an input gradient.
        """
        operation, rule = self.trace.operations[place], self.rules[place]
        if operation.phase != "backward" or rule is None:
            return "forward"
        if operation.attributes.get("recomputed"):
            return "recompute"
        partner = self.partner(place)
        if partner is not None:
            if self._is_repeated(place, partner[0]):
                return "recompute"
            other = self._factor(*partner)
            of_weights = {self.root[other], self.origin(other)} & self.of_parameters
            return "weight_gradient" if of_weights else "input_gradient"
        return "weight_gradient" if self._only_becomes_gradients(operation) else "input_gradient"

    def partner(self, place: int) -> tuple[int, int] | None:
        """The forward contraction that the backward one at this place differentiates, and the factor it is the gradient of.

        A gradient of ``a x b`` with respect to ``a`` is a contraction of the incoming gradient with ``b``. So a backward
        contraction that reads ``b``, a factor of a forward contraction, is the gradient of the other factor. Of several such
        forward contractions the one with the right number of elements, and of the same layer call, is taken.
        """
        operation, rule = self.trace.operations[place], self.rules[place]
        if rule is None or not operation.outputs:
            return None
        best: tuple[int, int, int] | None = None
        elements = self.trace.values[operation.outputs[0]].elements
        for operand in rule.operands:
            if operand >= len(operation.inputs):
                continue
            for forward, known in self._forward_factors.get(self.origin(operation.inputs[operand]), ()):
                fits = 2 * (self.trace.values[self._factor(forward, 1 - known)].elements == elements)
                fits += self.trace.operations[forward].call == operation.call
                best = max(best or (-1, 0, 0), (fits, forward, 1 - known))
        return None if best is None else best[1:]

    def _is_repeated(self, place: int, forward: int) -> bool:
        """Whether the operation takes the very product again that a forward one took, for a tracer that does not mark it."""
        again, first = self.trace.operations[place], self.trace.operations[forward]
        if again.name != first.name or len(again.inputs) != len(first.inputs):
            return False
        pairs = zip(again.inputs, first.inputs, strict=True)
        return (
            all(self.origin(mine) == self.origin(other) for mine, other in pairs)
            and self.trace.values[again.outputs[0]] == self.trace.values[first.outputs[0]]
        )

    def _factor(self, place: int, factor: int) -> int:
        rule = self.rules[place]
        operands = (0, 1) if rule is None else rule.operands
        return self.trace.operations[place].inputs[operands[factor]]

    def weights_of(self, place: int) -> set[int]:
        """Parameters that the contraction at this place takes products with, by root.

        They are its factors. An operation with weights that is several products in one (a recurrent layer) reads more of them
        behind its factors, which, unlike biases, have at least two axes. What stands in front of the factors is added.
        """
        operation, rule = self.trace.operations[place], self.rules[place]
        if rule is None or rule.family != "contraction":
            return set()
        origins = [self.origin(value) for value in operation.inputs]
        factors = {origins[operand] for operand in rule.operands if operand < len(origins)} & self.parameters
        if not factors:
            return set()
        behind = origins[min(rule.operands) :]
        return factors | {value for value in behind if value in self.parameters and len(self.trace.values[value].shape) > 1}

    @cached_property
    def readers(self) -> dict[int, list[int]]:
        """Places of the operations that read a tensor, by root; reading a view is reading the tensor."""
        found: dict[int, list[int]] = defaultdict(list)
        for place, operation in enumerate(self.trace.operations):
            if not self.is_alias(place):
                for value in dict.fromkeys(self.root[value] for value in operation.inputs):
                    found[value].append(place)
        return found

    def _only_becomes_gradients(self, operation: Operation) -> bool:
        """Whether an output ends in gradients of parameters and nowhere else, through casts, sums and additions."""
        gradients = {self.root[p.gradient] for p in self.trace.parameters if p.gradient is not None}
        todo = [self.root[output] for output in operation.outputs]
        seen: set[int] = set()
        arrived = False
        while todo:
            value = todo.pop()
            if value in seen:
                continue
            seen.add(value)
            if value in gradients:
                arrived = True
                continue
            for place in self.readers.get(value, ()):
                rule, reader = self.rules[place], self.trace.operations[place]
                if rule is None or rule.family not in {"free", "movement", "reduction", "elementwise"}:
                    return False
                todo.extend(self.root[output] for output in reader.outputs)
        return arrived
