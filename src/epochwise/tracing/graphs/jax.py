"""A jaxpr -> operations: what is nested is inlined, loops are listed once.

Named scopes tell the layer call of an equation, and whether it belongs to the backward pass; a nested jaxpr's names stand
inside those of the equation that holds it. Marks, equations of the identity primitive ``name``, disappear.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from epochwise.tracing.loops.jax import size, trip_count
from epochwise.tracing.recorder import LARGER_BRANCH, OPTIMIZER, TraceBuilder
from epochwise.tracing.trace import Phase

_SCOPE = re.compile(r"epochwise\.(\d+)")
MARK = "epochwise:"
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


def seen_in(jaxpr: Any) -> tuple[set[int], set[Hashable]]:
    """Numbers of the calls that left an operation in a trace, and the marks in it; what JAX traced and threw away left none."""
    calls: set[int] = set()
    marks: set[Hashable] = set()
    stacks: dict[int, Any] = {}
    for one in _all_in(jaxpr, set()):
        stacks.update((id(equation.source_info.name_stack), equation.source_info.name_stack) for equation in one.eqns)
        marks.update(str(equation.params["name"]) for equation in one.eqns if equation.primitive.name == "name")
    calls.update(call for stack in stacks.values() for call in _scopes(str(stack)))
    return calls, marks


def variables_of(jaxpr: Any) -> Iterator[Any]:
    """The variables of a jaxpr, without those of nested ones."""
    yield from jaxpr.invars
    for equation in jaxpr.eqns:
        yield from equation.outvars


def _all_in(jaxpr: Any, seen: set[int]) -> Iterator[Any]:
    """A jaxpr and all that are nested in it, each once; those seen, by ``id``, are left out."""
    seen.add(id(jaxpr))
    yield jaxpr
    for equation in jaxpr.eqns:
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
                nested = getattr(inner, "jaxpr", inner)
                if hasattr(nested, "eqns") and id(nested) not in seen:
                    yield from _all_in(nested, seen)


_dtype_name = functools.cache(str)


@functools.lru_cache(maxsize=10_000)
def _scopes(names: str) -> tuple[int, ...]:
    """Numbers of the calls whose scopes stand in a name stack, the outermost first."""
    return tuple(int(number) for number in _SCOPE.findall(names))


_RESIZES = "_resize"
"""The function in which ``jax.image.resize`` interpolates, by products with the weights of the interpolation."""


class Place(NamedTuple):
    """Where a nested jaxpr stands.

    Attributes:
        names: the named scopes around it.
        times: how often it runs in a step, ``None`` if that is not known.
        loop: the builder's number of the innermost loop around it.
        resizing: whether it is in a function that resizes images.
    """

    names: str
    times: int | None
    loop: int | None = None
    resizing: bool = False

    def repeated(self, times: int | None, loop: int) -> Place:
        """The place inside a loop that stands here."""
        every = None if times is None or self.times is None else self.times * times
        return self._replace(times=every, loop=loop)


class JaxprReader:
    """Walks a jaxpr and what is nested in it, and puts its equations into the builder."""

    def __init__(self, builder: TraceBuilder, renumbered: dict[int, int]) -> None:
        self.builder = builder
        self.marks: dict[Hashable, int] = {}  # by mark: the number of the tensor that was marked first
        self.results: list[int] = []  # numbers of what the step gives
        self.given: list[int] = []  # numbers of what conditions are given, which is computed whichever branch is taken
        self._renumbered = renumbered
        self._in_optimizer: dict[int, bool] = {}
        # A function that JAX traced once stands in many places. What is kept by ``id`` is kept alive by the whole jaxpr.
        self._names: dict[int, str] = {}  # of a name stack
        self._params: dict[int, dict[str, object]] = {}  # of an equation's parameters

    def new(self, aval: Any) -> int:
        """A number for a tensor that was not seen before."""
        return self.builder.value(getattr(aval, "shape", ()), _dtype_name(getattr(aval, "dtype", "token")))

    def walk(self, jaxpr: Any, inputs: Sequence[int], place: Place, *, marks: bool = False) -> list[int]:
        """Read one jaxpr whose inputs have these numbers; the numbers of its outputs.

        ``marks`` says that its variables are marks.
        """
        known: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable in jaxpr.constvars:
            known[variable] = self.new(variable.aval)

        def number(atom: Any) -> int:
            if hasattr(atom, "val"):
                return self.new(atom.aval)  # a constant in the program
            return known[atom]

        for equation in jaxpr.eqns:
            stack = equation.source_info.name_stack
            if (named := self._names.get(id(stack))) is None:
                named = self._names[id(stack)] = str(stack)
            names = f"{place.names}/{named}"
            outputs = self._equation(equation, [number(atom) for atom in equation.invars], place._replace(names=names))
            known.update(zip(equation.outvars, outputs, strict=True))
        if marks:
            self.marks.update(known)
        return [number(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, inputs: list[int], place: Place) -> list[int]:
        name, params = equation.primitive.name, equation.params
        if name == "name":
            self.marks.setdefault(str(params["name"]), inputs[0])
            return inputs
        if name in _INLINED:
            inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            inside = place._replace(resizing=place.resizing or params.get("name") == _RESIZES)
            return self.walk(getattr(inner, "jaxpr", inner), inputs, inside)
        if name == "scan":
            return self._scan(equation, inputs, place)
        if name == "while":
            return self._while(equation, inputs, place)
        if name == "cond":
            return self._cond(equation, inputs, place)
        outputs = [self.new(variable.aval) for variable in equation.outvars]
        if (plain := self._params.get(id(params))) is None:
            plain = self._params[id(params)] = _plain_params(params)
        self._add(name, inputs, outputs, place, plain)
        return outputs

    def _add(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], place: Place, attributes: dict[str, object]
    ) -> None:
        found = _scopes(place.names)
        call = self._renumbered.get(found[-1]) if found else None
        backward = "transpose(" in place.names
        phase: Phase = "backward" if backward else "forward"
        if call is not None:
            if call not in self._in_optimizer:
                self._in_optimizer[call] = self.builder.recorder.is_part(call, OPTIMIZER)
            phase = "update" if self._in_optimizer[call] else phase
        if phase == "backward" and "rematted_computation" in place.names:
            attributes = {**attributes, "recomputed": True}
        if place.resizing and name == "dot_general":
            attributes = {**attributes, "resizing": True}
        times, loop = place.times, place.loop
        self.builder.operation(name, inputs, outputs, phase=phase, call=call, attributes=attributes, times=times, loop=loop)

    def _scan(self, equation: Any, inputs: list[int], place: Place) -> list[int]:
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

    def _while(self, equation: Any, inputs: list[int], place: Place) -> list[int]:
        params = equation.params
        tests, kept = params["cond_nconsts"], params["body_nconsts"]
        test_consts, rest = inputs[:tests], inputs[tests:]
        carry = rest[kept:]
        times = trip_count(equation)
        inside = place.repeated(times, self.builder.loop(times))
        seen = self._seen_first(carry, place)
        self.walk(params["cond_jaxpr"].jaxpr, [*test_consts, *seen], inside)
        results = self.walk(params["body_jaxpr"].jaxpr, [*rest[:kept], *seen], inside)
        self._carry(inside, seen, results)
        return results

    def _seen_first(self, values: Sequence[int], place: Place) -> list[int]:
        """What a loop's body sees of the values that it carries, which in its first run are these."""
        described = [self.builder.shape_of(value) for value in values]
        seen = [self.builder.value(value.shape, value.dtype) for value in described]
        for value, inner in zip(values, seen, strict=True):
            self._add("loop.carry", (value,), (inner,), place, {})
        return seen

    def _carry(self, inside: Place, seen: Sequence[int], handed: Sequence[int]) -> None:
        for inner, result in zip(seen, handed, strict=True):
            if inside.loop is not None and inner != result:
                self.builder.carry(inside.loop, inner, result)

    def _cond(self, equation: Any, inputs: list[int], place: Place) -> list[int]:
        """The branch that handles the most elements; which one a step takes is known only when it runs."""
        branches = equation.params["branches"]
        chosen = max(branches, key=lambda branch: size(branch.jaxpr))
        if len({size(branch.jaxpr) for branch in branches}) > 1:
            self.builder.note(LARGER_BRANCH)
        self.given += inputs
        return self.walk(chosen.jaxpr, inputs[1:], place)


_NO_FORM = object()


def _plain_params(params: dict[str, Any]) -> dict[str, object]:
    plain = {key: _plain(value) for key, value in params.items()}
    return {key: value for key, value in plain.items() if value is not _NO_FORM}


def _plain(value: Any) -> object:
    """The value in plain Python types; ``_NO_FORM`` if it cannot be written in them."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "_asdict"):
        return _named(value._asdict())
    if isinstance(value, (tuple, list)):
        parts = tuple(_plain(part) for part in value)
        return _NO_FORM if _NO_FORM in parts else parts
    if hasattr(value, "name") and isinstance(value.name, str):  # enumerations, data types
        return value.name
    if hasattr(value, "__dataclass_fields__"):
        return _named({key: getattr(value, key) for key in value.__dataclass_fields__})
    return _NO_FORM


def _named(fields: dict[str, Any]) -> object:
    plain = {key: _plain(part) for key, part in fields.items()}
    return _NO_FORM if _NO_FORM in plain.values() else plain
