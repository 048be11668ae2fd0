"""The training step of a Keras model on TensorFlow, from its graph.

``train_step`` is traced by ``tf.function`` into a graph; nothing is run or compiled. The graph is only read: nothing is put
into it, because TensorFlow and Keras recognise patterns in it (a softmax before a cross-entropy).

Whose operation is it? A forward operation was made while a layer call was open. A backward operation has a name that begins
with ``gradient_tape/`` and goes on with the name or the scope of the forward operation that it differentiates; inside a loop
the name holds ``gradients/<forward name>_grad/``.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from epochwise.errors import TracingError
from epochwise.tracing.graphs.tensorflow import GraphReader, Origin
from epochwise.tracing.hooks import StepHooks
from epochwise.tracing.keras import intercept, owner_of_weights, prepare, step_message, unchanged
from epochwise.tracing.recorder import OPTIMIZER, LayerRecorder, TraceBuilder
from epochwise.tracing.trace import Trace

_IN_LOOP = re.compile(r"(?:^|/)gradients/(.+?)_grad(?:/|$)")
_TAPE = "gradient_tape/"
_FUNCTIONS = ("PartitionedCall", "StatefulPartitionedCall")


def trace(model: Any, x_spec: Any, y_spec: Any, batch_size: int) -> Trace:
    """The operations of one training step that the step needs.

    Args:
        model: a compiled Keras model; it is built if it was not, and left unchanged otherwise.
        x_spec: shapes and dtypes of a batch of features; a structure of :class:`~epochwise.tracing.trace.Value`.
        y_spec: the same for labels.
        batch_size: samples in the batch.

    Raises:
        TracingError: the model is not compiled, or its step raises while it is traced.
        ModelDoesNotFitError: the model does not accept such a batch.
    """
    prepare(model, x_spec, y_spec)
    recorder = LayerRecorder(top=id(model))
    hooks = _Hooks(recorder)
    specs = keras.tree.map_structure(
        lambda spec: None if spec is None else tf.TensorSpec(spec.shape, spec.dtype), (x_spec, y_spec)
    )
    with unchanged(model), intercept(model, recorder, hooks), _backward_watched(hooks):
        try:
            step = tf.function(lambda x, y: model.train_step((x, y)), autograph=False)  # as fit does it
            concrete = step.get_concrete_function(*specs)
        except Exception as error:
            raise TracingError(
                f"The training step of model {model.name!r} could not be traced on TensorFlow: " + step_message(error),
                cause="the step does something that tf.function cannot trace, such as Python decisions on a tensor's value",
                remedy="check that the model trains: model.fit(x[:32], y[:32])",
            ) from error
    return _read(model, concrete, recorder, hooks, batch_size)


class _Hooks(StepHooks):
    """Remembers which operations were made in which call, and the tensors at the borders; puts nothing into the graph."""

    def __init__(self, recorder: LayerRecorder) -> None:
        self.recorder = recorder
        self.borders: dict[tuple[str, int], list[Any]] = {}
        self.gradient_of: dict[int, Any] = {}
        self.owner: dict[tuple[int, str], int | None] = {}  # by graph and operation
        self.backward: set[tuple[int, str]] = set()
        self.scopes: dict[str, int] = {}  # the call in which operations of this name or in this scope were made
        self.again: set[int] = set()  # calls made while differentiating: forward passes run again (checkpointing)
        self._recomputed: set[tuple[int, str]] = set()
        self._last_call: dict[int, int] = {}
        self._differentiating = False
        self._open: list[int | None] = [None]
        self._graphs: dict[int, Any] = {}  # kept, so that their identities are not given to others
        self._done: dict[int, int] = {}

    @contextlib.contextmanager
    def scope(self, call: int) -> Iterator[None]:
        layer = self.recorder.layer_of(call)
        if self._differentiating:
            self.again.add(call)
            call = self._last_call.get(layer, call)
        self._last_call[layer] = call
        self.assign()
        self._open.append(call)
        try:
            yield
        finally:
            self.assign()
            self._open.pop()

    @contextlib.contextmanager
    def differentiation(self) -> Iterator[None]:
        """Held open while a gradient tape puts operations into the graph."""
        self.assign()
        self._open.append(None)
        self._differentiating = True
        try:
            yield
        finally:
            self.assign()
            self._differentiating = False
            self._open.pop()

    def assign(self) -> None:
        """Give the operations made since the last time, in the graph being made, to the innermost open call."""
        graph = tf.compat.v1.get_default_graph()
        self._graphs[id(graph)] = graph
        operations = graph.get_operations()
        for operation in operations[self._done.get(id(graph), 0) :]:
            call = self._open[-1]
            if self._differentiating:
                self.backward.add((id(graph), operation.name))
                if call is None:
                    continue
                self._recomputed.add((id(graph), operation.name))
            self.owner[id(graph), operation.name] = call
            if call is not None and "/" in operation.name:
                self.scopes.setdefault(operation.name, call)
                self.scopes.setdefault(operation.name.rpartition("/")[0], call)
        self._done[id(graph)] = len(operations)

    def tensors_in(self, call: int, tensors: list[Any]) -> list[Any]:
        self.borders["in", call] = tensors
        return tensors

    def tensors_out(self, call: int, tensors: list[Any]) -> list[Any]:
        self.borders["out", call] = tensors
        return tensors

    def gradients(self, variables: list[Any], gradients: list[Any]) -> list[Any]:
        for variable, gradient in zip(variables, gradients, strict=True):
            if gradient is not None:
                self.gradient_of[id(variable)] = getattr(gradient, "values", gradient)  # of rows only, for an embedding
        return gradients

    def origin(self, operation: Any, around: Origin) -> Origin:
        """Phase and call of an operation; ``around`` are those of the operation whose function it stands in."""
        key, name = (id(operation.graph), operation.name), operation.name
        backward = around.phase == "backward" or key in self.backward or name.startswith(_TAPE)
        if backward and key not in self.owner:
            return Origin("backward", self._differentiated(operation, around.call))
        call = self.owner.get(key, self.scopes.get(name)) if key in self.owner or "/" in name else None
        call = around.call if call is None else call
        if backward:
            return Origin("backward", call, key in self._recomputed or around.recomputed)
        updates = call is not None and self.recorder.is_part(call, OPTIMIZER)
        return Origin("update" if updates else "forward", call)

    def _differentiated(self, operation: Any, around: int | None) -> int | None:
        """The call of the forward operation that this backward operation is named after.

        The gradient of a function has no such name, but reads what the function kept; a sum of gradients belongs to the first.
        """
        found = _IN_LOOP.search(operation.name)
        path = found.group(1) if found else operation.name.removeprefix(_TAPE)
        while path:
            if path in self.scopes:
                return self.scopes[path]
            path = path.rpartition("/")[0]
        for tensor in operation.inputs if operation.type in _FUNCTIONS else ():
            owner = self.owner.get((id(operation.graph), tensor.op.name))
            if tensor.op.type in _FUNCTIONS and owner is not None:
                return owner
        if operation.type == "AddN" and around is None:
            return self._differentiated(operation.inputs[0].op, around)
        return around


@contextlib.contextmanager
def _backward_watched(hooks: _Hooks) -> Iterator[None]:
    """Remember what a gradient tape puts into the graph."""
    thread = threading.get_ident()
    original = tf.GradientTape.gradient

    @functools.wraps(original)
    def gradient(tape: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return original(tape, *args, **kwargs)
        with hooks.differentiation():
            return original(tape, *args, **kwargs)

    tf.GradientTape.gradient = gradient
    try:
        yield
    finally:
        tf.GradientTape.gradient = original


def _read(model: Any, concrete: Any, recorder: LayerRecorder, hooks: _Hooks, batch_size: int) -> Trace:
    """The trace from the step's graph."""
    builder = TraceBuilder("tensorflow", "tensorflow", batch_size, recorder)
    reader = GraphReader(builder, hooks.origin)
    variables = {
        id(variable): variable for variable in [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    }
    number_of = {
        key: builder.value(tuple(variable.shape), keras.backend.standardize_dtype(variable.dtype))
        for key, variable in variables.items()
    }
    by_handle = {id(variable.value.handle): number_of[key] for key, variable in variables.items()}
    inputs = list(concrete.graph.inputs)
    fed = inputs[: len(inputs) - len(concrete.captured_inputs)]
    arguments = [reader.new(tensor) for tensor in fed]
    builder.inputs = list(arguments)
    arguments += [by_handle[id(c)] if id(c) in by_handle else reader.captured(c) for c in concrete.captured_inputs]
    results = reader.read(concrete.graph, arguments)
    for call in range(recorder.call_count):
        recorder.set_inputs(call, reader.numbers(hooks.borders.get(("in", call), ())))
        recorder.set_outputs(call, reader.numbers(hooks.borders.get(("out", call), ())))
    builder.forget(hooks.again)
    builder.optimizer_state = [number_of[id(variable)] for variable in model.optimizer.variables]
    owners = owner_of_weights(model, recorder)
    trainable = {id(variable) for variable in model.trainable_variables}
    for weight in model.weights:
        gradient = reader.numbers([hooks.gradient_of[id(weight)]]) if id(weight) in hooks.gradient_of else ()
        builder.parameter(
            weight.path,
            number_of[id(weight)],
            trainable=id(weight) in trainable,
            layer=owners.get(id(weight)),
            gradient=gradient[0] if gradient else None,
        )
    return builder.finish(results)
