"""A TensorFlow graph -> operations: functions inlined, loops listed once, variables followed through reads and writes.

Identities disappear: their output is their input. So do reads of variables, stacks on which a loop keeps values for its
gradient loop (what is popped is what was pushed), and what concerns shapes alone, which are all known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from epochwise.tracing.loops.tensorflow import SAME, evaluate, follow, inputs_known, passes
from epochwise.tracing.recorder import LARGER_BRANCH, TraceBuilder
from epochwise.tracing.trace import Phase

_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_LOOPS = {"While", "StatelessWhile"}
_BRANCHES = {"If", "StatelessIf", "Case", "StatelessCase"}
_SHAPES = {"Shape", "ShapeN", "Size", "Rank", "VariableShape", "BroadcastGradientArgs", "VarIsInitializedOp", "Const"}
_LIKE = {"ZerosLike", "OnesLike"}
_RESHAPES = {"Reshape", "ExpandDims", "Squeeze"}
_NOTHING = {"NoOp", "Assert", "ControlTrigger", "Placeholder"}


class Origin(NamedTuple):
    """Phase and call that an operation belongs to, and whether it does forward work again in the backward pass."""

    phase: Phase
    call: int | None
    recomputed: bool = False


class _Place(NamedTuple):
    """Where a graph stands that is being read.

    Attributes:
        origin: of the operation whose function it is.
        times: how often it runs in a step.
        loop: the innermost loop around it.
    """

    origin: Origin
    times: int | None
    loop: int | None


class GraphReader:
    """Reads a step's graph into a builder.

    Args:
        builder: gets values and operations.
        origin: phase and call of an operation, given those of the operation whose function it stands in.
    """

    def __init__(self, builder: TraceBuilder, origin: Callable[[Any, Origin], Origin]) -> None:
        self.builder = builder
        self._origin = origin
        self._number_of: dict[tuple[int, str], int] = {}
        self._named: dict[str, int] = {}
        self._graphs: list[Any] = []
        self._current: dict[int, int] = {}  # by a variable's first number: the number of what it holds now
        self._pushed: dict[int, int] = {}  # by number of a list: the number of what was put on it last
        self._given: list[int] = []  # to conditions: it is computed whichever branch is taken
        self._first: dict[int, int] = {}  # by a value in a loop's body: what the first run sees

    def new(self, tensor: Any) -> int:
        """A number for a tensor that was not seen before."""
        if tensor.dtype not in (tf.variant, tf.resource) and not tensor.shape.is_fully_defined():
            self.builder.note("Sizes that are known only when the step runs were taken as 1.")
        return self._value(tensor)

    def _value(self, tensor: Any) -> int:
        shape = tensor.shape.as_list() if tensor.shape.rank is not None else []
        return self.builder.value([1 if size is None else size for size in shape], tensor.dtype.name)

    def captured(self, tensor: Any) -> int:
        """A number for a tensor that the graph takes from outside."""
        return self.builder.value(tuple(tensor.shape), tensor.dtype.name)

    def numbers(self, tensors: Iterable[Any]) -> tuple[int, ...]:
        """The numbers of those of the tensors that the graph has."""
        found = []
        for tensor in tensors:
            name = getattr(tensor, "name", None) if isinstance(tensor, tf.Tensor) and not hasattr(tensor, "numpy") else None
            number = None if name is None else self._number_of.get((id(tensor.graph), name), self._named.get(name))
            if number is not None:
                found.append(number)
        return tuple(found)

    def read(self, graph: Any, arguments: Sequence[int]) -> list[int]:
        """Read a step's graph whose inputs have these numbers; numbers of its outputs and of what its variables then hold."""
        outputs, _ = self._walk(graph, arguments, {}, _Place(Origin("forward", None), 1, None))
        return [*outputs, *self._current.values(), *self._given]

    # --- graphs ------------------------------------------------------------------------------------------------------

    def _walk(self, graph: Any, arguments: Sequence[int], known: dict[str, Any], place: _Place) -> tuple[list[int], list[Any]]:
        """Read one graph; numbers of its outputs, and their values where they are known.

        Args:
            graph: a ``FuncGraph``.
            arguments: numbers of its inputs.
            known: values of its tensors that are known, by name; gets more.
            place: where it stands.
        """
        self._graphs.append(graph)
        numbers: dict[str, int] = {}
        for tensor, number in zip(graph.inputs, arguments, strict=True):
            numbers[tensor.name] = number
            self._remember(tensor, number)
        for operation in _ordered(graph):
            for tensor, number in zip(operation.outputs, self._operation(operation, numbers, known, place), strict=True):
                numbers[tensor.name] = number
                self._remember(tensor, number)
        return [numbers[tensor.name] for tensor in graph.outputs], [evaluate(tensor, known) for tensor in graph.outputs]

    def _remember(self, tensor: Any, number: int) -> None:
        self._number_of.setdefault((id(tensor.graph), tensor.name), number)
        self._named.setdefault(tensor.name, number)

    def _operation(self, operation: Any, numbers: dict[str, int], known: dict[str, Any], place: _Place) -> list[int]:
        """Read one operation; numbers of its outputs."""
        kind = operation.type
        inputs = [numbers[tensor.name] for tensor in operation.inputs]
        if kind in SAME or _is_whole(operation):
            return inputs[: len(operation.outputs)]
        if kind == "ReadVariableOp":
            return [self._current.get(inputs[0], inputs[0])]
        if kind == "AssignVariableOp":
            self._current[inputs[0]] = inputs[1]
            return []
        if kind in _SHAPES:
            return [self._value(tensor) for tensor in operation.outputs]  # whose own sizes change no count
        inside = place._replace(origin=self._origin(operation, place.origin))
        if kind in _CALLS:
            return self._call(operation, operation.get_attr("f"), inputs, known, inside)
        if kind in _LOOPS:
            return self._loop(operation, inputs, known, inside)
        if kind in _BRANCHES:
            return self._branch(operation, inputs, known, inside)
        if kind in ("TensorListPopBack", "TensorListPushBack"):
            return self._stack(operation, inputs)
        if kind == "OptionalFromValue" and len(inputs) == 1:  # so a branch hands values to its gradient's branch
            self._pushed[kept := self.builder.value((), "variant")] = inputs[0]
            return [kept]
        if kind == "OptionalGetValue" and inputs[0] in self._pushed:
            return [self._pushed[inputs[0]]]
        return self._plain(operation, inputs, inside)

    def _plain(self, operation: Any, inputs: list[int], place: _Place) -> list[int]:
        outputs = [self.new(tensor) for tensor in operation.outputs]
        written = list(outputs)
        resources = [number for number, tensor in zip(inputs, operation.inputs, strict=True) if tensor.dtype == tf.resource]
        if resources and not outputs:  # an assignment that computes: AssignSubVariableOp, ResourceScatterAdd, ...
            variable = resources[0]
            value = self.builder.shape_of(variable)
            written = [self.builder.value(value.shape, value.dtype)]
            inputs = [self._current.get(number, number) for number in inputs]
            self._current[variable] = written[0]
        if operation.type in _LIKE:
            inputs = []
        if operation.type == "TensorListSetItem":  # first what is put there, whose numbers the list then holds
            inputs = [inputs[2], inputs[0]]
        self._add(operation.type, inputs, written, place, _attributes(operation))
        return outputs

    def _add(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], place: _Place, attributes: dict[str, object]
    ) -> None:
        phase, call, recomputed = place.origin
        if recomputed:
            attributes = {**attributes, "recomputed": True}
        self.builder.operation(
            name, inputs, outputs, phase=phase, call=call, attributes=attributes, times=place.times, loop=place.loop
        )

    # --- functions, branches, loops ------------------------------------------------------------------------------------

    def _call(self, operation: Any, function: Any, inputs: list[int], known: dict[str, Any], place: _Place) -> list[int]:
        """The function in place of its call."""
        graph = _graph(operation, function)
        given = operation.inputs[len(operation.inputs) - len(inputs) :]  # a branch's function does not get the condition
        inner = inputs_known(graph, [evaluate(tensor, known) for tensor in given])
        outputs, values = self._walk(graph, inputs, inner, place)
        known.update({t.name: value for t, value in zip(operation.outputs, values, strict=True) if value is not None})
        return outputs

    def _branch(self, operation: Any, inputs: list[int], known: dict[str, Any], place: _Place) -> list[int]:
        """The branch that is taken, if that is known; else the one with the most operations' work."""
        names = ("then_branch", "else_branch")
        functions = [operation.get_attr(n) for n in names] if "If" in operation.type else operation.get_attr("branches")
        chosen = evaluate(operation.inputs[0], known)
        if chosen is not None:
            index = (0 if bool(chosen) else 1) if "If" in operation.type else int(chosen)
        else:
            sizes = [_size(_graph(operation, function)) for function in functions]
            index = sizes.index(max(sizes))
            if len(set(sizes)) > 1:
                self.builder.note(LARGER_BRANCH)
            self._given += inputs
        return self._call(operation, functions[index], inputs[1:], known, place)

    def _loop(self, operation: Any, inputs: list[int], known: dict[str, Any], place: _Place) -> list[int]:
        """The body once, and how often it runs."""
        test, body = (_graph(operation, operation.get_attr(name)) for name in ("cond", "body"))
        start = [evaluate(tensor, known) for tensor in operation.inputs]
        runs, end = follow(test, body, start)
        if runs == 0:
            return inputs
        loop = self.builder.loop(runs)
        unchanged = [passes(body, position) or tensor.dtype == tf.resource for position, tensor in enumerate(body.inputs)]
        arguments = []
        for given, same, tensor in zip(inputs, unchanged, body.inputs, strict=True):
            arguments.append(given if same else self.new(tensor))
            if not same:  # what the first run sees
                self._first[arguments[-1]] = given
                self._add("Identity", [given], [arguments[-1]], place, {})
        times = None if runs is None or place.times is None else place.times * runs
        constant = [value if same else None for value, same in zip(start, unchanged, strict=True)]
        inside = _Place(place.origin, times, loop)
        outputs, _ = self._walk(body, arguments, inputs_known(body, constant), inside)
        for argument, output, same in zip(arguments, outputs, unchanged, strict=True):
            if not same:
                self.builder.carry(loop, argument, output)
        known.update({t.name: value for t, value in zip(operation.outputs, end, strict=True) if value is not None})
        return outputs

    def _stack(self, operation: Any, inputs: list[int]) -> list[int]:
        """A list on which a loop keeps a value of each run: what is popped later is what was pushed."""
        if operation.type == "TensorListPushBack":
            stacked = self.builder.value((), "variant")
            self._pushed[stacked] = inputs[1]
            return [stacked]
        stacked = inputs[0]
        while stacked not in self._pushed and stacked in self._first:
            stacked = self._first[stacked]
        popped = self._pushed.get(stacked)
        return [inputs[0], self.new(operation.outputs[1]) if popped is None else popped]


def _ordered(graph: Any) -> list[Any]:
    """The operations in an order in which inputs come first; a loop may have got inputs that were made after it."""
    operations = [operation for operation in graph.get_operations() if operation.type not in _NOTHING]
    given = {tensor.name for tensor in graph.inputs}
    ordered: dict[str, Any] = {}
    for wanted in operations:
        todo = [wanted]
        while todo:
            operation = todo[-1]
            missing = [t.op for t in operation.inputs if t.name not in given and t.op.name not in ordered]
            if operation.name in ordered or not missing:
                ordered[operation.name] = todo.pop()
            else:
                todo.extend(missing)
    return list(ordered.values())


def _is_whole(operation: Any) -> bool:
    """Whether this is a slice that takes all, in order."""
    if operation.type != "StridedSlice" or operation.inputs[0].shape != operation.outputs[0].shape:
        return False
    steps = tf.get_static_value(operation.inputs[3])
    return steps is not None and bool((steps > 0).all())


def _graph(operation: Any, function: Any) -> Any:
    """The graph of a function that an operation's attribute names."""
    found = operation.graph._get_function(function.name)
    return found.graph


def _size(graph: Any) -> int:
    """Elements that a graph's operations write: a measure to choose the larger of two branches."""
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    return sum(tensor.shape.num_elements() or 1 for tensor in tensors)


def _attributes(operation: Any) -> dict[str, object]:
    """The operation's attributes as plain Python values; functions and shapes are left out."""
    plain: dict[str, object] = _undivided(operation) if "Conv" in operation.type else {}
    for name in operation.node_def.attr:
        if not name.startswith("_") and operation.node_def.attr[name].WhichOneof("value") not in ("func", "shape", "tensor"):
            value = operation.get_attr(name)
            if isinstance(value, list):
                plain[name] = tuple(_plain(part) for part in value)
            else:
                plain[name] = _plain(value)
    return plain


def _undivided(operation: Any) -> dict[str, object]:
    """Elements of a convolution's tensors before their positions were divided among a larger batch, 0 where they were not.

    TensorFlow makes a dilated convolution of a plain one: each sample becomes one for each phase of the dilation, padded up to
    a common size, and is put together again behind it. The padding is the division's and no work of the convolution.
    """

    def before(tensor: Any) -> int:
        while tensor.op.type in _RESHAPES:
            tensor = tensor.op.inputs[0]
        return int(tensor.op.inputs[0].shape.num_elements() or 0) if tensor.op.type == "SpaceToBatchND" else 0

    def behind(tensor: Any) -> int:
        readers = tensor.consumers()
        while len(readers) == 1 and readers[0].type in _RESHAPES:
            readers = readers[0].outputs[0].consumers()
        together = [reader for reader in readers if reader.type == "BatchToSpaceND"]
        return int(together[0].outputs[0].shape.num_elements() or 0) if together else 0

    inputs, outputs = tuple(map(before, operation.inputs)), tuple(map(behind, operation.outputs))
    return {"undivided_inputs": inputs, "undivided_outputs": outputs} if any((*inputs, *outputs)) else {}


def _plain(value: Any) -> object:
    if isinstance(value, bytes):
        return value.decode()
    return value if value is None or isinstance(value, (bool, int, float, str)) else getattr(value, "name", str(value))
