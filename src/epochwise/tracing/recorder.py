"""What every tracer shares: the stack of layer calls while a step is traced, and the numbering of its tensors.

Nothing here knows a framework. A tracer opens and closes layer calls on a :class:`LayerRecorder` and puts tensors and
operations into a :class:`TraceBuilder`, which gives the finished :class:`~epochwise.tracing.trace.Trace`.

Paths are the names that the user gave: ``conv2d``, ``encoder/dense``. The model itself is not part of a path; work that it does
directly, outside any of its layers, belongs to a row of its own, named after the model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

import msgspec

from epochwise.tracing.loops.needed import Loop, needed
from epochwise.tracing.trace import Backend, Call, Layer, Operation, Parameter, Phase, Storage, Trace, Value

LOSS = "(loss)"
METRICS = "(metrics)"
OPTIMIZER = "(optimizer)"
PARTS = {LOSS: "Loss", METRICS: "Metrics", OPTIMIZER: "Optimizer"}
"""The parts of a step outside any layer, by path, with the kind that their rows show."""
LARGER_BRANCH = "Of a condition's branches the one that handles the most data is counted."
"""The note on a condition whose outcome is known only when the step runs."""


class LayerRecorder:
    """Keeps the stack of layer calls while a step is traced.

    Args:
        top: key of the model itself, whose name stays out of the paths of its layers; ``None`` if there is none.
    """

    def __init__(self, top: Hashable | None = None) -> None:
        self._top = top
        self._layers: list[Layer] = []
        self._number_of: dict[Hashable, int] = {}
        self._paths: set[str] = set()
        self._layer_of_call: list[int] = []
        self._parent_call: list[int | None] = []
        self._inputs: list[tuple[int, ...]] = []
        self._outputs: list[tuple[int, ...]] = []
        self._stack: list[int] = []

    @property
    def current(self) -> int | None:
        """Number of the innermost open call, ``None`` outside any."""
        return self._stack[-1] if self._stack else None

    @property
    def call_count(self) -> int:
        """How many calls were opened so far."""
        return len(self._layer_of_call)

    def add_layer(self, key: Hashable, name: str, kind: str, *, parent: int | None = None, path: str | None = None) -> int:
        """Number of the layer with this key, made on first sight.

        Args:
            key: what identifies the layer, such as ``id(layer)``; the caller keeps the object alive.
            name: its name among its siblings.
            kind: its class.
            parent: number of the layer that contains it.
            path: its whole path, where the framework has a better one than parent and name.
        """
        if key in self._number_of:
            return self._number_of[key]
        if path is None:
            prefixed = parent is not None and self._number_of.get(self._top) != parent
            path = f"{self._layers[parent].path}/{name}" if prefixed and parent is not None else name
        self._number_of[key] = len(self._layers)
        self._layers.append(Layer(path=self._unused(path), kind=kind, parent=parent, leaf=True))
        if parent is not None and key != self._top:
            self._layers[parent] = _not_a_leaf(self._layers[parent])
        return self._number_of[key]

    def layer_number(self, key: Hashable) -> int | None:
        """Number of the layer with this key, ``None`` if it was not seen."""
        return self._number_of.get(key)

    def enter(self, key: Hashable, name: str, kind: str, *, path: str | None = None) -> int:
        """Open a call of a layer inside the innermost open one; the same key again is another call of the same layer."""
        outer = self.current
        parent = None if outer is None else self._layer_of_call[outer]
        if parent is not None and parent == self._number_of.get(key):
            parent = self._layers[parent].parent  # a layer that calls itself
        number = self.add_layer(key, name, kind, parent=parent, path=path)
        return self._open(number)

    def enter_part(self, part: str) -> int:
        """Open a part of the step outside any layer: :data:`LOSS`, :data:`METRICS` or :data:`OPTIMIZER`."""
        number = self.add_layer(part, part, PARTS[part], path=part)
        return self._open(number)

    def exit(self, call: int) -> None:
        """Close a call, and with it any that an exception left open inside it."""
        while self._stack and self._stack[-1] != call:
            self._stack.pop()
        if self._stack:
            self._stack.pop()

    def set_inputs(self, call: int, values: Iterable[int]) -> None:
        """The numbers of the tensors that went into a call."""
        self._inputs[call] = tuple(values)

    def set_outputs(self, call: int, values: Iterable[int]) -> None:
        """The numbers of the tensors that came out of a call."""
        self._outputs[call] = tuple(values)

    def retain(self, calls: Collection[int]) -> dict[int, int]:
        """Forget all other calls (of traces that the framework threw away); new numbers of the kept ones by their old ones."""
        kept = sorted(set(calls) & set(range(self.call_count)))
        numbers = {old: new for new, old in enumerate(kept)}
        parents = [self._parent_call[old] for old in kept]
        self._parent_call = [None if parent is None else numbers.get(parent) for parent in parents]
        self._layer_of_call = [self._layer_of_call[old] for old in kept]
        self._inputs = [self._inputs[old] for old in kept]
        self._outputs = [self._outputs[old] for old in kept]
        return numbers

    def layer_of(self, call: int) -> int:
        """Number of the layer that a call is of."""
        return self._layer_of_call[call]

    def is_leaf(self, layer: int) -> bool:
        """Whether a layer has called no other so far."""
        return self._layers[layer].leaf

    def is_part(self, call: int, part: str) -> bool:
        """Whether a call is of this part of the step, or was opened inside one."""
        at: int | None = call
        while at is not None:
            if self._layers[self._layer_of_call[at]].path == part:
                return True
            at = self._parent_call[at]
        return False

    def layers(self) -> tuple[Layer, ...]:
        """All layers, parents before children."""
        return tuple(self._layers)

    def calls(self) -> tuple[Call, ...]:
        """All calls in the order in which they were opened; a call's number is its place."""
        numbered = zip(self._layer_of_call, self._inputs, self._outputs, strict=True)
        return tuple(Call(layer=layer, inputs=inputs, outputs=outputs) for layer, inputs, outputs in numbered)

    def _open(self, layer: int) -> int:
        call = len(self._layer_of_call)
        self._layer_of_call.append(layer)
        self._parent_call.append(self.current)
        self._inputs.append(())
        self._outputs.append(())
        self._stack.append(call)
        return call

    def _unused(self, path: str) -> str:
        """The path, or with ``#2`` and so on behind it where two layers of one parent have the same name."""
        free, count = path, 1
        while free in self._paths:
            count += 1
            free = f"{path}#{count}"
        self._paths.add(free)
        return free


class TraceBuilder:
    """Numbers tensors, takes operations, and gives the finished trace.

    A tensor is known by a key: whatever hashable the framework identifies it by. A key whose object may be freed and its
    identity given to another must be kept alive by the tracer.
    """

    def __init__(self, backend: Backend, dialect: str, batch_size: int, recorder: LayerRecorder) -> None:
        self.backend: Backend = backend
        self.dialect = dialect
        self.batch_size = batch_size
        self.recorder = recorder
        self.inputs: list[int] = []
        self.optimizer_state: list[int] = []
        self.storages: tuple[Storage, ...] = ()
        self._values: list[Value] = []
        self._number_of: dict[Hashable, int] = {}
        self._operations: list[Operation] = []
        self._loops: list[Loop] = []
        self._loop_of: dict[int, int] = {}  # by place of an operation
        self._parameters: list[Parameter] = []
        self._notes: list[str] = []

    def value(self, shape: Sequence[int], dtype: str) -> int:
        """A new tensor's number."""
        self._values.append(Value(shape=tuple(int(size) for size in shape), dtype=dtype))
        return len(self._values) - 1

    def number(self, key: Hashable, shape: Sequence[int], dtype: str) -> int:
        """The number of the tensor with this key, given on first sight."""
        if key not in self._number_of:
            self._number_of[key] = self.value(shape, dtype)
        return self._number_of[key]

    def known(self, key: Hashable) -> int | None:
        """The number of the tensor with this key, ``None`` if it was not seen."""
        return self._number_of.get(key)

    def keys(self) -> Mapping[Hashable, int]:
        """The numbers of all keys."""
        return self._number_of

    def alias(self, key: Hashable, number: int) -> None:
        """From now on this key names that tensor: an identity, or a key that is given to a new tensor."""
        self._number_of[key] = number

    def shape_of(self, number: int) -> Value:
        """Shape and dtype of a tensor."""
        return self._values[number]

    def operation(
        self,
        name: str,
        inputs: Iterable[int],
        outputs: Iterable[int],
        *,
        phase: Phase,
        call: int | None = None,
        attributes: Mapping[str, object] | None = None,
        times: int | None = 1,
        loop: int | None = None,
    ) -> int:
        """Add an operation behind the others; its place. See :class:`~epochwise.tracing.trace.Operation`.

        ``loop`` is the innermost loop whose body it stands in, if any.
        """
        if loop is not None:
            self._loop_of[len(self._operations)] = loop
        made = Operation(
            name=name,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            phase=phase,
            call=call,
            attributes=dict(attributes or {}),
            times=times,
        )
        self._operations.append(made)
        return len(self._operations) - 1

    def loop(self, times: int | None) -> int:
        """The number of a new loop that runs so often each time that it is entered; ``None`` if that is not known."""
        self._loops.append(Loop(times, {}))
        return len(self._loops) - 1

    def carry(self, loop: int, seen: int, handed: int) -> None:
        """A loop's body sees a value under the one number and hands the other to its next run."""
        self._loops[loop].handed[seen] = handed

    def map_operations(self, change: Callable[[Operation], Operation]) -> None:
        """Put another operation in the place of each, as where phase or call is known only later."""
        self._operations = [change(operation) for operation in self._operations]

    def forget(self, calls: Collection[int]) -> None:
        """Leave out these calls, which are forward passes run again in the backward pass; no operation may belong to one."""
        if calls:
            numbers = self.recorder.retain(set(range(self.recorder.call_count)) - set(calls))
            self.map_operations(
                lambda made: made if made.call is None else msgspec.structs.replace(made, call=numbers[made.call])
            )

    def parameter(self, path: str, value: int, *, trainable: bool, layer: int | None, gradient: int | None = None) -> None:
        """Add a weight of the model. See :class:`~epochwise.tracing.trace.Parameter`."""
        self._parameters.append(Parameter(path=path, value=value, trainable=trainable, layer=layer, gradient=gradient))

    def note(self, sentence: str) -> None:
        """Add what a reader must know, once."""
        if sentence not in self._notes:
            self._notes.append(sentence)

    def finish(self, results: Collection[int] | None = None, stored: Mapping[int, int] | None = None) -> Trace:
        """The trace.

        Args:
            results: numbers that the step must compute (new weights, losses, metrics). If given, operations that none of
                them needs are left out, see :mod:`epochwise.tracing.loops.needed`; otherwise all are kept.
            stored: for each value the number of one that lies in the same memory, where operations write in place: what
                writes to a part of it is needed where another part is.
        """
        operations = tuple(self._operations)
        if results is not None:
            operations = needed(operations, self._loop_of, self._loops, results, stored)
        return Trace(
            backend=self.backend,
            dialect=self.dialect,  # type: ignore[arg-type]  # one of the Literal's three, by each tracer's constant
            batch_size=self.batch_size,
            values=tuple(self._values),
            operations=operations,
            layers=self.recorder.layers(),
            calls=self.recorder.calls(),
            parameters=self._owned(operations),
            inputs=tuple(self.inputs),
            optimizer_state=tuple(self.optimizer_state),
            notes=tuple(self._notes),
            storages=self.storages,
        )

    def _owned(self, operations: Sequence[Operation]) -> tuple[Parameter, ...]:
        """The weights, each with the layer that works with it.

        That is the layer that made it; but where this is not called, and the weight is used all the same (``TimeDistributed``,
        ``torch.nn.MultiheadAttention``), it is the nearest layer around it that is. What nothing uses stays where it was made.
        """
        layers, called = self.recorder.layers(), {call.layer for call in self.recorder.calls()}
        used = {value for operation in operations if operation.phase != "update" for value in operation.inputs}

        def owner(parameter: Parameter) -> int | None:
            at = parameter.layer
            while parameter.value in used and at is not None and at not in called:
                at = layers[at].parent
            return at

        return tuple(msgspec.structs.replace(parameter, layer=owner(parameter)) for parameter in self._parameters)


def _not_a_leaf(layer: Layer) -> Layer:
    return Layer(path=layer.path, kind=layer.kind, parent=layer.parent, leaf=False)
