"""The training step of a Keras model on JAX, from its jaxpr.

``train_step`` is traced with abstract arrays, so nothing is computed. Layer calls open a named scope, which JAX carries through
differentiation: the backward operations of a layer stand in ``transpose(jvp(scope))``. What goes into and comes out of a call,
and the gradients that the optimizer receives, are known by their variables in the jaxpr. Inside a function that JAX traces by
itself (a loop's body, a checkpointed function) these do not last; there they are marked with JAX's identity primitive ``name``,
and the marks are taken out again here. XLA removes what a step does not need, so that is left out before anything else.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import keras
from jax.ad_checkpoint import checkpoint_name
from jax.extend import source_info_util
from jax.extend.core import Var
from jax.interpreters import partial_eval
from keras.src.backend.jax import nn as keras_nn  # where layers find it; there is no public name for it

from epochwise.errors import TracingError
from epochwise.tracing.batches.jax import kept_apart
from epochwise.tracing.calls.keras import patched
from epochwise.tracing.graphs.jax import MARK, JaxprReader, Place, seen_in, variables_of
from epochwise.tracing.hooks import StepHooks
from epochwise.tracing.keras import intercept, owner_of_weights, prepare, step_message, unchanged
from epochwise.tracing.recorder import LayerRecorder, TraceBuilder
from epochwise.tracing.trace import Trace

_STEPS = itertools.count()


def trace(model: Any, x_spec: Any, y_spec: Any, batch_size: int) -> Trace:
    """The operations of one training step.

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
    lists = (
        list(model.trainable_variables),
        list(model.non_trainable_variables),
        list(model.optimizer.variables),
        list(model.metrics_variables),
    )
    state = tuple([_abstract(variable.value) for variable in variables] for variables in lists)
    data = keras.tree.map_structure(lambda spec: jax.ShapeDtypeStruct(spec.shape, spec.dtype), (x_spec, y_spec))
    with unchanged(model), intercept(model, recorder, hooks), kept_apart(hooks.step), _in_place():
        try:
            closed = jax.make_jaxpr(hooks.watched(model.train_step))(state, data)
        except Exception as error:
            raise TracingError(
                f"The training step of model {model.name!r} could not be traced on JAX: " + step_message(error),
                cause="the step does something that JAX cannot trace, such as Python decisions on a tensor's value",
                remedy="check that the model trains: model.fit(x[:32], y[:32])",
            ) from error
    reader, numbers = _read(closed, recorder, hooks, batch_size)
    counted = iter(numbers)
    number_of = {id(variable): next(counted) for variables in lists for variable in variables}
    reader.builder.inputs = list(counted)
    reader.builder.optimizer_state = [number_of[id(variable)] for variable in lists[2]]
    gradients = {id(variable): reader.marks[mark] for variable, mark in hooks.gradients_of if mark in reader.marks}
    _add_weights(model, reader.builder, number_of, lists[0], gradients)
    return reader.builder.finish([*reader.results, *reader.given])


@contextlib.contextmanager
def _in_place() -> Iterator[None]:
    """What is jitted by itself inside the step (most of ``jax.numpy``) is traced where it is called.

    Traced apart, such a function's jaxpr is made, differentiated and transposed by itself, which for a small model is a third
    of the time of a trace. The operations are the same. Loops stay loops, and what resizes images stays a function, by whose
    name it is told. The long ones that a large model calls for each of its layers stay functions too, and Keras's batch
    normalisation becomes one: JAX keeps what it made of them, with its derivative, for the next layer of the same shapes.
    """
    kept = {
        jax.lax: ("scan", "while_loop", "fori_loop", "map", "cond", "switch"),
        jax.image: ("resize", "scale_and_translate"),
        jax.numpy: ("var", "std"),
        jax.nn: ("silu", "gelu"),
    }
    with contextlib.ExitStack() as opened:
        for module, names in kept.items():
            for name in names:
                opened.enter_context(patched(module, name, _as_it_is))
        for name in _OPTIONS:
            opened.enter_context(patched(keras_nn, name, _as_one_function))
        opened.enter_context(jax.disable_jit())
        yield


def _as_it_is(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with jax.disable_jit(False):  # else JAX would go through a loop in Python
        return original(*args, **kwargs)


_OPTIONS = {"moments": ("axes", "keepdims", "synchronized"), "batch_normalization": ("axis", "epsilon")}
"""Functions of Keras that work on tensors and these."""


def _as_one_function(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    given = inspect.signature(original).bind(*args, **kwargs).arguments
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = tuple(value)  # as a key of what is kept
        elif isinstance(value, keras.Variable):
            given[name] = value.value
    with jax.disable_jit(False):
        return _jitted(original)(**given)


@functools.cache
def _jitted(original: Callable[..., Any]) -> Callable[..., Any]:
    def in_place(**given: Any) -> Any:
        with jax.disable_jit():
            return original(**given)

    return jax.jit(in_place, static_argnames=_OPTIONS[original.__name__])


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


class _Hooks(StepHooks):
    """Scopes and marks.

    What JAX keeps of a function holds the scopes and marks of the call that it was traced in. So a layer that calls others is
    traced again when it is called again; for all calls alike, tracing would take twice as long.

    JAX writes down for each equation what line made it, which takes a tenth of the time of a trace and is not read here: all
    equations have one line.

    A tensor's mark is its variable in the step's jaxpr, or the name that it was marked with at the first border that it
    crossed. At the next ones it is the same object, and the mark is known.

    Attributes:
        step: a name for what JAX keeps of this step.
        borders: by call, the marks of the tensors that went in, and of those that came out.
        gradients_of: the variables of the gradients that the optimizer receives, with the marks of these.
    """

    def __init__(self, recorder: LayerRecorder) -> None:
        self.step = f"step {next(_STEPS)}"
        self.borders: dict[int, tuple[list[Hashable], list[Hashable]]] = defaultdict(lambda: ([], []))
        self.gradients_of: list[tuple[Any, Hashable]] = []
        self._recorder = recorder
        self._called: set[int] = set()
        self._numbers = itertools.count()
        self._marked: dict[int, tuple[Any, Hashable]] = {}  # by id of a tensor, which is kept alive: itself and its mark
        self._whole: Any = None  # JAX's own object for the trace of the whole step

    def watched(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step; when it is traced, its trace is known from then on."""

        def traced(state: Any, data: Any) -> Any:
            self._whole = next((getattr(leaf, "_trace", None) for leaf in jax.tree.leaves((state, data))), None)
            failed: Exception | None = None
            with source_info_util.user_context(source_info_util.current().traceback):
                try:
                    return step(state, data)
                except Exception as error:  # which would get this place for its cause, were it raised in here
                    failed = error
            raise failed

        return traced

    @contextlib.contextmanager
    def scope(self, call: int) -> Iterator[None]:
        layer = self._recorder.layer_of(call)
        again = layer in self._called and not self._recorder.is_leaf(layer)
        self._called.add(layer)
        apart = kept_apart(f"{self.step}, call {call}") if again else contextlib.nullcontext()
        with jax.named_scope(f"epochwise.{call}"), apart:
            yield

    def tensors_in(self, call: int, tensors: list[Any]) -> list[Any]:
        return [self._at_border(tensor, self.borders[call][0]) for tensor in tensors]

    def tensors_out(self, call: int, tensors: list[Any]) -> list[Any]:
        return [self._at_border(tensor, self.borders[call][1]) for tensor in tensors]

    def gradients(self, variables: list[Any], gradients: list[Any]) -> list[Any]:
        marked: list[Any] = []
        for variable, gradient in zip(variables, gradients, strict=True):
            if gradient is None:
                marked.append(None)
            else:
                made, mark = self._mark(gradient)
                marked.append(made)
                self.gradients_of.append((variable, mark))
        return marked

    def _at_border(self, tensor: Any, border: list[Hashable]) -> Any:
        if not isinstance(tensor, jax.Array):  # a sparse one
            return tensor
        made, mark = self._marked.get(id(tensor)) or self._mark(tensor)
        border.append(mark)
        return made

    def _mark(self, tensor: Any) -> tuple[Any, Hashable]:
        mark: Hashable = self._variable(tensor)
        made = tensor
        if mark is None:
            mark = f"{MARK}{next(self._numbers)}"
            made = checkpoint_name(tensor, str(mark))
        self._marked[id(made)] = made, mark
        return made, mark

    def _variable(self, tensor: Any) -> Hashable:
        """The variable of the step's jaxpr that a tensor is; ``None`` inside a function that is traced by itself."""
        while hasattr(tensor, "primal"):  # it is differentiated
            tensor = tensor.primal
        at_top = self._whole is not None and getattr(tensor, "_trace", None) is self._whole
        variable = getattr(tensor, "val", None) if at_top else None
        return variable if isinstance(variable, Var) else None


def _read(closed: Any, recorder: LayerRecorder, hooks: _Hooks, batch_size: int) -> tuple[JaxprReader, list[int]]:
    """The operations and calls of the step's jaxpr, and the numbers of its inputs."""
    seen, marks = seen_in(closed.jaxpr)
    marks.update(variables_of(closed.jaxpr))
    seen.update(call for call, (_, outputs) in hooks.borders.items() if not marks.isdisjoint(outputs))
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    renumbered = recorder.retain(seen)
    reader = JaxprReader(TraceBuilder("jax", "jax", batch_size, recorder), renumbered)
    numbers = [reader.new(variable.aval) for variable in jaxpr.invars]
    reader.results = reader.walk(jaxpr, numbers, Place("", 1), marks=True)
    for call, number in renumbered.items():
        inputs, outputs = ([reader.marks[mark] for mark in border if mark in reader.marks] for border in hooks.borders[call])
        recorder.set_inputs(number, inputs)
        recorder.set_outputs(number, outputs)
    return reader, numbers


def _add_weights(
    model: Any, builder: TraceBuilder, numbers: dict[int, int], trainable: list[Any], gradients: dict[int, int]
) -> None:
    """The model's weights; ``numbers`` and ``gradients`` are by ``id`` of the variable."""
    owners = owner_of_weights(model, builder.recorder)
    trained = {id(variable) for variable in trainable}
    for weight in model.weights:
        builder.parameter(
            weight.path,
            numbers[id(weight)],
            trainable=id(weight) in trained,
            layer=owners.get(id(weight)),
            gradient=gradients.get(id(weight)),
        )
