"""How often a loop of a jaxpr runs, and which of two branches is the larger."""

from __future__ import annotations

from typing import Any

import jax


def size(jaxpr: Any) -> int:
    """Elements that a jaxpr reads and writes, contractions by their MACs: a measure to choose the larger of two branches."""
    total = 0
    for equation in jaxpr.eqns:
        leaves = jax.tree.leaves(tuple(equation.params.values()), is_leaf=_is_jaxpr)
        nested = [getattr(leaf, "jaxpr", leaf) for leaf in leaves]
        inner = sum(size(found) for found in nested if hasattr(found, "eqns"))
        sizes = [getattr(atom.aval, "size", 1) for atom in (*equation.invars, *equation.outvars)]
        product = equation.primitive.name in {"dot_general", "conv_general_dilated"}
        own = max(1, sizes[0]) * max(1, sizes[1]) if product else sum(int(size) for size in sizes)
        total += inner * int(equation.params.get("length") or 1) if inner else own
    return total


def _is_jaxpr(candidate: Any) -> bool:
    return hasattr(candidate, "eqns") or hasattr(candidate, "jaxpr")


def trip_count(equation: Any) -> int | None:
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
