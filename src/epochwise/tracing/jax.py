"""The training step of a Keras model on JAX, from its jaxpr.

``train_step`` is traced with abstract arrays, so nothing is computed. Layer calls open a named scope, which JAX carries through
differentiation: the backward operations of a layer stand in ``transpose(jvp(scope))``. What goes into and comes out of a call,
and the gradients that the optimizer receives, are marked with JAX's identity primitive ``name``; the marks are taken out again
here. XLA removes what a step does not need, so that is left out before anything else.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import keras
from jax.ad_checkpoint import checkpoint_name
from jax.interpreters import partial_eval

from epochwise.errors import TracingError
from epochwise.tracing.keras import StepHooks, intercept, owner_of_weights, prepare, short_message, unchanged
from epochwise.tracing.recorder import OPTIMIZER, LayerRecorder, TraceBuilder
from epochwise.tracing.trace import Phase, Trace

_SCOPE = re.compile(r"epochwise\.(\d+)")
_MARK = "epochwise:"
_INLINED = {
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "remat2",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
}


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
    hooks = _Hooks()
    lists = (
        list(model.trainable_variables),
        list(model.non_trainable_variables),
        list(model.optimizer.variables),
        list(model.metrics_variables),
    )
    state = tuple([_abstract(variable.value) for variable in variables] for variables in lists)
    data = keras.tree.map_structure(lambda spec: jax.ShapeDtypeStruct(spec.shape, spec.dtype), (x_spec, y_spec))
    with unchanged(model), intercept(model, recorder, hooks):
        try:
            # A function of its own each time: JAX keeps the jaxprs of functions that it has seen.
            closed = jax.make_jaxpr(functools.partial(model.train_step))(state, data)
        except Exception as error:
            raise TracingError(
                f"The training step of model {model.name!r} could not be traced on JAX: {type(error).__name__}: {short_message(error)}",
                cause="the step does something that JAX cannot trace, such as Python decisions on a tensor's value",
                remedy="check that the model trains: model.fit(x[:32], y[:32])",
            ) from error
    reader, numbers = _read(closed, recorder, batch_size)
    counted = iter(numbers)
    number_of = {id(variable): next(counted) for variables in lists for variable in variables}
    reader.builder.inputs = list(counted)
    reader.builder.optimizer_state = [number_of[id(variable)] for variable in lists[2]]
    gradients = {
        id(variable): reader.marks["gradient", place][0]
        for place, variable in enumerate(hooks.variables)
        if ("gradient", place) in reader.marks
    }
    _add_weights(model, reader.builder, number_of, lists[0], gradients)
    return reader.builder.finish(reader.results)


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


class _Hooks(StepHooks):
    """Scopes and marks."""

    def __init__(self) -> None:
        self.variables: list[Any] = []

    def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
        return jax.named_scope(f"epochwise.{call}")

    def is_tensor(self, candidate: object) -> bool:
        return isinstance(candidate, jax.Array)

    def tensors_in(self, call: int, tensors: list[Any]) -> list[Any]:
        return [checkpoint_name(tensor, f"{_MARK}in:{call}:{place}") for place, tensor in enumerate(tensors)]

    def tensors_out(self, call: int, tensors: list[Any]) -> list[Any]:
        return [checkpoint_name(tensor, f"{_MARK}out:{call}:{place}") for place, tensor in enumerate(tensors)]

    def gradients(self, variables: list[Any], gradients: list[Any]) -> list[Any]:
        marked: list[Any] = []
        for variable, gradient in zip(variables, gradients, strict=True):
            if gradient is None:
                marked.append(None)
            else:
                marked.append(checkpoint_name(gradient, f"{_MARK}gradient:{len(self.variables)}:0"))
                self.variables.append(variable)
        return marked


def _read(closed: Any, recorder: LayerRecorder, batch_size: int) -> tuple[_Reader, list[int]]:
    """The operations and calls of the step's jaxpr, and the numbers of its inputs."""
    seen = set(_calls_in(closed.jaxpr))
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    renumbered = recorder.retain(seen)
    reader = _Reader(TraceBuilder("jax", "jax", batch_size, recorder), renumbered)
    numbers = [reader.new(variable.aval) for variable in jaxpr.invars]
    reader.results = reader.walk(jaxpr, numbers, _Place("", 1))
    for call in range(recorder.call_count):
        recorder.set_inputs(call, reader.marked("in", call))
        recorder.set_outputs(call, reader.marked("out", call))
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


def _calls_in(jaxpr: Any) -> Iterable[int]:
    """Numbers of the calls that left a trace; a call that JAX traced and threw away left none."""
    for equation in jaxpr.eqns:
        yield from (int(number) for number in _SCOPE.findall(str(equation.source_info.name_stack)))
        if equation.primitive.name == "name" and str(equation.params["name"]).startswith(f"{_MARK}out"):
            yield int(equation.params["name"].split(":")[2])
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
                nested = getattr(inner, "jaxpr", inner)
                if hasattr(nested, "eqns"):
                    yield from _calls_in(nested)


class _Place(NamedTuple):
    """Where a nested jaxpr stands: the names around it, how often it runs, and the innermost loop around it."""

    names: str
    times: int | None
    loop: int | None = None

    def repeated(self, times: int | None, loop: int) -> _Place:
        return _Place(self.names, None if times is None or self.times is None else self.times * times, loop)


class _Reader:
    """Walks a jaxpr and what is nested in it, and puts its equations into the builder."""

    def __init__(self, builder: TraceBuilder, renumbered: dict[int, int]) -> None:
        self.builder = builder
        self.marks: dict[tuple[str, int], dict[int, int]] = {}
        self.results: list[int] = []  # numbers of what the step gives
        self._renumbered = renumbered
        self._in_optimizer: dict[int, bool] = {}

    def new(self, aval: Any) -> int:
        """A number for a tensor that was not seen before."""
        return self.builder.value(getattr(aval, "shape", ()), str(getattr(aval, "dtype", "token")))

    def marked(self, border: str, call: int) -> tuple[int, ...]:
        """The tensors marked at one border of a call, in order."""
        marks = self.marks.get((border, call), {})
        return tuple(marks[place] for place in sorted(marks))

    def walk(self, jaxpr: Any, inputs: Sequence[int], place: _Place) -> list[int]:
        """Read one jaxpr whose inputs have these numbers; the numbers of its outputs."""
        known: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable in jaxpr.constvars:
            known[variable] = self.new(variable.aval)

        def number(atom: Any) -> int:
            if hasattr(atom, "val"):
                return self.new(atom.aval)  # a constant in the program
            return known[atom]

        for equation in jaxpr.eqns:
            names = f"{place.names}/{equation.source_info.name_stack}"
            outputs = self._equation(equation, [number(atom) for atom in equation.invars], place._replace(names=names))
            known.update(zip(equation.outvars, outputs, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, inputs: list[int], place: _Place) -> list[int]:
        name, params = equation.primitive.name, equation.params
        if name == "name":
            self._mark(str(params["name"]), inputs[0])
            return inputs
        if name in _INLINED:
            inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            return self.walk(getattr(inner, "jaxpr", inner), inputs, place)
        if name == "scan":
            return self._scan(equation, inputs, place)
        if name == "while":
            return self._while(equation, inputs, place)
        if name == "cond":
            return self._cond(equation, inputs, place)
        outputs = [self.new(variable.aval) for variable in equation.outvars]
        self._add(name, inputs, outputs, place, _plain_params(params))
        return outputs

    def _add(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], place: _Place, attributes: dict[str, object]
    ) -> None:
        found = _SCOPE.findall(place.names)
        call = self._renumbered.get(int(found[-1])) if found else None
        backward = "transpose(" in place.names
        phase: Phase = "backward" if backward else "forward"
        if call is not None:
            if call not in self._in_optimizer:
                self._in_optimizer[call] = self.builder.recorder.is_part(call, OPTIMIZER)
            phase = "update" if self._in_optimizer[call] else phase
        if phase == "backward" and "rematted_computation" in place.names:
            attributes = {**attributes, "recomputed": True}
        times, loop = place.times, place.loop
        self.builder.operation(name, inputs, outputs, phase=phase, call=call, attributes=attributes, times=times, loop=loop)

    def _mark(self, mark: str, number: int) -> None:
        if mark.startswith(_MARK):
            _, border, call, place = mark.split(":")
            owner = int(call) if border == "gradient" else self._renumbered.get(int(call), -1)
            self.marks.setdefault((border, owner), {}).setdefault(int(place), number)

    def _scan(self, equation: Any, inputs: list[int], place: _Place) -> list[int]:
        """The body once. What runs over the loop is read in slices, and results are stacked, once each as a whole."""
        params = equation.params
        body, kept, carried = params["jaxpr"], params["num_consts"], params["num_consts"] + params["num_carry"]
        inside = place.repeated(params["length"], self.builder.loop(params["length"]))
        slices = [self.new(variable.aval) for variable in body.jaxpr.invars[carried:]]
        for whole, part in zip(inputs[carried:], slices, strict=True):
            self._add("scan.slice", (whole,), (part,), place, {})
        seen = self._seen_first(inputs[kept:carried], place)
        results = self.walk(body.jaxpr, [*inputs[:kept], *seen, *slices], inside)
        count = carried - kept
        self._carry(inside, seen, results[:count])
        stacked = [self.new(variable.aval) for variable in equation.outvars[count:]]
        for part, whole in zip(results[count:], stacked, strict=True):
            self._add("scan.stack", (part,), (whole,), place, {})
        return [*results[:count], *stacked]

    def _while(self, equation: Any, inputs: list[int], place: _Place) -> list[int]:
        params = equation.params
        tests, kept = params["cond_nconsts"], params["body_nconsts"]
        test_consts, rest = inputs[:tests], inputs[tests:]
        carry = rest[kept:]
        times = _trip_count(equation)
        inside = place.repeated(times, self.builder.loop(times))
        seen = self._seen_first(carry, place)
        self.walk(params["cond_jaxpr"].jaxpr, [*test_consts, *seen], inside)
        results = self.walk(params["body_jaxpr"].jaxpr, [*rest[:kept], *seen], inside)
        self._carry(inside, seen, results)
        return results

    def _seen_first(self, values: Sequence[int], place: _Place) -> list[int]:
        """What a loop's body sees of the values that it carries, which in its first run are these."""
        described = [self.builder.shape_of(value) for value in values]
        seen = [self.builder.value(value.shape, value.dtype) for value in described]
        for value, inner in zip(values, seen, strict=True):
            self._add("loop.carry", (value,), (inner,), place, {})
        return seen

    def _carry(self, inside: _Place, seen: Sequence[int], handed: Sequence[int]) -> None:
        for inner, result in zip(seen, handed, strict=True):
            if inside.loop is not None and inner != result:
                self.builder.carry(inside.loop, inner, result)

    def _cond(self, equation: Any, inputs: list[int], place: _Place) -> list[int]:
        """The branch that handles the most elements; which one a step takes is known only when it runs."""
        branches = equation.params["branches"]
        chosen = max(branches, key=lambda branch: _size(branch.jaxpr))
        if len({_size(branch.jaxpr) for branch in branches}) > 1:
            self.builder.note("Of a condition's branches the one that handles the most data is counted.")
        return self.walk(chosen.jaxpr, inputs[1:], place)


def _size(jaxpr: Any) -> int:
    """Elements that a jaxpr reads and writes, contractions by their MACs: a measure to choose the larger of two branches."""
    total = 0
    for equation in jaxpr.eqns:
        leaves = jax.tree.leaves(tuple(equation.params.values()), is_leaf=_is_jaxpr)
        nested = [getattr(leaf, "jaxpr", leaf) for leaf in leaves]
        inner = sum(_size(found) for found in nested if hasattr(found, "eqns"))
        sizes = [getattr(atom.aval, "size", 1) for atom in (*equation.invars, *equation.outvars)]
        product = equation.primitive.name in {"dot_general", "conv_general_dilated"}
        own = max(1, sizes[0]) * max(1, sizes[1]) if product else sum(int(size) for size in sizes)
        total += inner * int(equation.params.get("length") or 1) if inner else own
    return total


def _is_jaxpr(candidate: Any) -> bool:
    return hasattr(candidate, "eqns") or hasattr(candidate, "jaxpr")


def _trip_count(equation: Any) -> int | None:
    """How often a ``while`` runs, if it counts from a fixed start by a fixed step to a fixed end; else ``None``."""
    params = equation.params
    tests = params["cond_nconsts"]
    start_of_carry = tests + params["body_nconsts"]
    test, body = params["cond_jaxpr"].jaxpr, params["body_jaxpr"].jaxpr
    if len(test.eqns) != 1 or test.eqns[0].primitive.name not in {"lt", "gt"} or test.outvars[0] is not test.eqns[0].outvars[0]:
        return None
    low, high = test.eqns[0].invars if test.eqns[0].primitive.name == "lt" else reversed(test.eqns[0].invars)
    if hasattr(low, "val") or low not in test.invars[tests:]:
        return None
    place = test.invars.index(low) - tests

    def fixed(atom: Any) -> int | None:
        """The value of an atom of the test, if it is the same on every run and known now."""
        if hasattr(atom, "val"):
            return int(atom.val)
        if atom not in test.invars:
            return None
        at = test.invars.index(atom)
        if at >= tests:
            carried = at - tests
            if body.outvars[carried] is not body.invars[params["body_nconsts"] + carried]:
                return None
            given = equation.invars[start_of_carry + carried]
        else:
            given = equation.invars[at]
        return int(given.val) if hasattr(given, "val") else None

    end, start = fixed(high), equation.invars[start_of_carry + place]
    counter = body.invars[params["body_nconsts"] + place]
    step = next((eqn for eqn in body.eqns if eqn.outvars[0] is body.outvars[place]), None)
    if end is None or not hasattr(start, "val") or step is None or step.primitive.name != "add":
        return None
    steps = [atom for atom in step.invars if atom is not counter]
    if len(steps) != 1 or not hasattr(steps[0], "val") or int(steps[0].val) <= 0:
        return None
    return max(0, -((int(start.val) - end) // int(steps[0].val)))


def _plain_params(params: dict[str, Any]) -> dict[str, object]:
    plain = {}
    for key, value in params.items():
        with contextlib.suppress(TypeError):
            plain[key] = _plain(value)
    return plain


def _plain(value: Any) -> object:
    """The value in plain Python types; ``TypeError`` if it has no such form."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "_asdict"):
        return {key: _plain(part) for key, part in value._asdict().items()}
    if isinstance(value, (tuple, list)):
        return tuple(_plain(part) for part in value)
    if hasattr(value, "name") and isinstance(value.name, str):  # enumerations, data types
        return value.name
    if hasattr(value, "__dataclass_fields__"):
        return {key: _plain(getattr(value, key)) for key in value.__dataclass_fields__}
    raise TypeError(type(value))
