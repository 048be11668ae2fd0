"""How often a loop of a TensorFlow graph runs, from the numbers that shapes and settings give; no data is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

LONGEST = 100_000
"""Loops are followed run by run, up to so many runs."""

MOST_ELEMENTS = 64
"""Only integers and truth values in tensors of at most this size are followed."""

SAME = {
    *(
        "Identity",
        "IdentityN",
        "StopGradient",
        "PreventGradient",
        "Snapshot",
        "EnsureShape",
        "CheckNumerics",
        "CheckNumericsV2",
    ),
    "OptimizationBarrier",
}
"""Operations whose outputs are their inputs."""

_FORMULAS: dict[str, Callable[..., Any]] = {
    "AddV2": np.add,
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "FloorDiv": np.floor_divide,
    "FloorMod": np.mod,
    "Neg": np.negative,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "LogicalNot": np.logical_not,
    "Max": lambda values, axes: np.max(values, axis=tuple(np.atleast_1d(axes))) if np.size(axes) else values,
    "Min": lambda values, axes: np.min(values, axis=tuple(np.atleast_1d(axes))) if np.size(axes) else values,
    "Prod": lambda values, axes: np.prod(values, axis=tuple(np.atleast_1d(axes))) if np.size(axes) else values,
    "Range": np.arange,
    "Reshape": np.reshape,
    "Pack": lambda *values: np.stack(values),
    "SelectV2": np.where,
}


def evaluate(tensor: Any, known: Mapping[str, Any]) -> Any:
    """The value of a tensor as a NumPy array, ``None`` if it is not known before the step runs.

    Args:
        tensor: of a graph.
        known: values of the graph's inputs and of results of its loops, by name.
    """
    if tensor.name in known:
        return known[tensor.name]
    elements = tensor.shape.num_elements()
    if not (tensor.dtype.is_integer or tensor.dtype == tf.bool) or elements is None or elements > MOST_ELEMENTS:
        return None
    operation = tensor.op
    if operation.type in SAME:
        return evaluate(operation.inputs[tensor.value_index], known)
    if operation.type == "Cast":
        value = evaluate(operation.inputs[0], known)
        return None if value is None else np.asarray(value).astype(tensor.dtype.as_numpy_dtype)
    formula = _FORMULAS.get(operation.type)
    if formula is None:
        return tf.get_static_value(tensor)
    values = []
    for given in operation.inputs:
        value = evaluate(given, known)
        if value is None:
            return None
        values.append(value)
    return formula(*values)


def follow(test: Any, body: Any, start: Sequence[Any]) -> tuple[int | None, list[Any]]:
    """How often a loop runs, ``None`` if unknown, and what is known of its variables behind it.

    Args:
        test: the graph that decides whether it goes on.
        body: the graph of one run.
        start: values of the loop's variables before it, ``None`` for unknown ones.
    """
    state = list(start)
    for runs in range(LONGEST):
        goes_on = evaluate(test.outputs[0], inputs_known(test, state))
        if goes_on is None:
            break
        if not bool(goes_on):
            return runs, state
        known = inputs_known(body, state)
        state = [None if old is None else evaluate(new, known) for old, new in zip(state, body.outputs, strict=True)]
    return None, [None] * len(state)


def inputs_known(graph: Any, values: Sequence[Any]) -> dict[str, Any]:
    """The known ones of a graph's inputs by name."""
    return {tensor.name: value for tensor, value in zip(graph.inputs, values, strict=True) if value is not None}


def passes(body: Any, position: int) -> bool:
    """Whether a loop's body hands the variable at this position on as it is."""
    tensor = body.outputs[position]
    while tensor.op.type in SAME and tensor.op.inputs:
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor is body.inputs[position]
