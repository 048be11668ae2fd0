"""A network while it is put together from a model, with what the engine cannot do of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from epochwise.engine.network import Operation, Shape, Weight
from epochwise.engine.support import Reason


class Sketch:
    """Tensors, operations and weights so far.

    Attributes:
        shapes: of each tensor, for one sample.
        operations: in the order in which they run.
        weights: all of the model's.
        reasons: what is not covered; as long as there are any, the rest of the sketch has no meaning.
    """

    def __init__(self, weights: Iterable[tuple[int, Weight]]) -> None:
        listed = list(weights)
        self.shapes: list[Shape] = []
        self.operations: list[Operation] = []
        self.weights: list[Weight] = [weight for _, weight in listed]
        self.reasons: list[Reason] = []
        self._places = {identity: place for place, (identity, _) in enumerate(listed)}

    def tensor(self, shape: Iterable[int]) -> int:
        """A new tensor that no operation makes."""
        self.shapes.append(tuple(shape))
        return len(self.shapes) - 1

    def add(self, kind: type[Operation], layer: str, inputs: Iterable[int], shape: Iterable[int], /, **options: Any) -> int:
        """One more operation; gives the tensor that it makes."""
        output = self.tensor(shape)
        self.operations.append(kind(layer=layer, inputs=tuple(inputs), output=output, **options))
        return output

    def place(self, variable: object) -> int:
        """Where a variable of the framework stands among the weights."""
        return self._places[id(variable)]

    def maybe(self, variable: object | None) -> int | None:
        """The same for a weight that a layer may do without."""
        return None if variable is None else self.place(variable)

    def refuse(self, where: str, what: str) -> None:
        """Note something that the engine does not do."""
        reason = Reason(where, what)
        if reason not in self.reasons:  # a shared layer is read several times
            self.reasons.append(reason)

    def need(self, condition: bool, where: str, what: str) -> bool:
        """Refuse ``what`` unless the condition holds; gives the condition."""
        if not condition:
            self.refuse(where, what)
        return condition

    def maker(self, tensor: int) -> Operation | None:
        """The operation that makes a tensor."""
        return next((operation for operation in self.operations if operation.output == tensor), None)
