"""Arrays as users have them, checked against a network and put into the form that trainers take.

Legend: ``N`` samples, ``K`` classes or numbers per sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from epochwise.engine.network import Embedding, Float32, Network, Shape
from epochwise.engine.trainer import Data
from epochwise.errors import DataError, ModelDoesNotFitError
from epochwise.subjects.arrays import Array, as_array, refuse_objects

_SPARSE = "sparse_categorical_crossentropy"
_WHOLE = "iub"


def prepared(
    network: Network,
    x: Any,
    y: Any,
    weight: Any = None,
    *,
    class_weight: Mapping[int, float] | None = None,
    whole: bool = False,
    prefix: str = "",
) -> Data:
    """Samples, labels and weights for a network.

    Args:
        network: what they must fit.
        x: samples ``(N, ...)``: an array, nested lists, or a tensor of any framework.
        y: labels.
        weight: of each sample, or ``None``.
        class_weight: weight of each class; classes that are not in it weigh 1.
        whole: whether the model takes whole numbers, to which floats are cut.
        prefix: what the caller calls these data in messages, such as ``validation ``.

    Raises:
        DataError: no numbers, empty, of different length, labels or tokens out of range.
        ModelDoesNotFitError: a sample or a label has another shape than the model takes.
    """
    samples = _samples(network, as_array(alone(x), f"{prefix}x"), whole, f"{prefix}x")
    if y is None:
        raise DataError(
            f"There are {prefix}samples and no labels.",
            cause="y was left out, or a generator gives x alone",
            remedy="fit(model, x, y)",
        )
    labels = _labels(network, as_array(alone(y), f"{prefix}y"), f"{prefix}y")
    if len(samples) != len(labels):
        raise DataError(
            f"{prefix}x has {len(samples)} samples and {prefix}y has {len(labels)} labels.",
            cause="Only one of the two was cut or filtered.",
            remedy="the same index for both: x, y = x[chosen], y[chosen]",
        )
    weights = None if weight is None else _weights(network, weight, len(samples), f"{prefix}sample_weight")
    if class_weight is not None:
        if len(network.shapes[network.output]) > 1:
            raise ModelDoesNotFitError(
                f"class_weight was given, and {network.name} has an answer at several places of each sample.",
                cause="The engine takes one weight for each sample.",
                remedy="fit(..., fallback=True), which trains with Keras",
            )
        weights = _by_class(labels, class_weight)
    return Data(samples, labels, weights)


def alone(values: Any) -> Any:
    """The array out of a list that holds just it, which is how Keras takes the data of models with several inputs."""
    if isinstance(values, list | tuple) and len(values) == 1 and len(getattr(values[0], "shape", ())) > 0:
        return values[0]
    return values


def _numbers(values: Array, name: str) -> None:
    refuse_objects(values, name)
    if values.dtype.kind not in "iubf":
        raise DataError(
            f"{name} has dtype {values.dtype}, which no model takes.",
            cause="Samples and labels must be numbers.",
            remedy=f'{name} = {name}.astype("float32")',
        )
    if values.ndim == 0 or values.size == 0:
        raise DataError(
            f"{name} is empty; its shape is {values.shape}.",
            cause="A filter that let nothing through, or the wrong slice.",
            remedy=f"print({name}.shape) where it is made",
        )


def _samples(network: Network, x: Array, whole: bool, name: str) -> Array:
    _numbers(x, name)
    shape = network.shapes[network.input]
    if not _stretches(tuple(x.shape[1:]), shape):
        raise ModelDoesNotFitError(
            f"{name} has samples of shape {tuple(x.shape[1:])}; {network.name} takes {shape}.",
            cause="An input shape written into the model, or axes in another order.",
            remedy=_reshaped(name.rsplit(maxsplit=1)[-1], tuple(x.shape[1:]), shape),
        )
    if x.dtype != np.uint8:
        if whole and x.dtype.kind == "f":
            x = np.trunc(x)
        x = x.astype(np.float32, copy=False)
    x = np.ascontiguousarray(x.reshape(len(x), *shape))
    for operation in network.operations:
        if isinstance(operation, Embedding):
            _in_range(x, network.weights[operation.table].shape[0], f"{name} holds the token", "rows of the Embedding", name)
    return x


def _reshaped(name: str, given: Shape, wanted: Shape) -> str:
    """What makes samples fit, without mixing up their numbers."""
    if len(given) == len(wanted) > 1 and given == (wanted[-1], *wanted[:-1]):
        return f"{name} = numpy.moveaxis({name}, 1, -1)   (channels last)"
    if prod(given) == prod(wanted):
        return f"{name} = {name}.reshape(-1, {', '.join(map(str, wanted))})"
    return f"keras.Input({given}) where the model is made, or other samples"


def _stretches(given: Shape, wanted: Shape) -> bool:
    """Whether samples have the wanted shape, but for one last axis of length 1 that either may have."""
    return wanted in (given, (*given, 1)) or given == (*wanted, 1)


def _labels(network: Network, y: Array, name: str) -> Array:
    _numbers(y, name)
    shape, kind = network.shapes[network.output], network.loss.kind
    if kind == _SPARSE:
        places = shape[:-1]  # each has a class: none for a classifier, the length for a sequence
        if tuple(y.shape[1:]) == (*places, 1):
            y = y[..., 0]
        if tuple(y.shape[1:]) != places or (
            y.dtype.kind not in _WHOLE and not (np.isfinite(y).all() and (y == np.trunc(y)).all())
        ):
            raise _not_a_class(y, shape, kind, name)
        _in_range(y, shape[-1], f"{name} holds the label", f"classes 0 to {shape[-1] - 1}", name)
        return np.ascontiguousarray(y, np.int32)
    given = tuple(y.shape[1:])
    if given != shape and not (shape == (1,) and given == ()):
        whole = given in ((), (1,)) and y.dtype.kind in _WHOLE and kind == "categorical_crossentropy"
        raise ModelDoesNotFitError(
            f"{name} has {f'labels of shape {given}' if given else 'one number'} per sample; {network.name} gives {shape}.",
            cause="Numbers of classes with the loss for one-hot labels." if whole else "The last layer has other units.",
            remedy='loss="sparse_categorical_crossentropy"' if whole else "keras.layers.Dense(y.shape[1])",
        )
    return np.ascontiguousarray(y.reshape(len(y), *shape), np.float32)


def _not_a_class(y: Array, shape: Shape, kind: str, name: str) -> ModelDoesNotFitError:
    """What is wrong with labels that should be numbers of classes."""
    found, each = f"shape {y.shape} and dtype {y.dtype}", f"each of {shape[:-1]} places" if shape[:-1] else "each sample"
    if tuple(y.shape[1:]) == shape:
        cause, remedy = "One-hot labels with the loss for numbers of classes.", 'loss="categorical_crossentropy"'
    elif tuple(y.shape[1:]) != shape[:-1]:
        cause, remedy = "Labels of another task.", f'loss="mean_squared_error"   (or {name} with one number for {each})'
    else:
        wrong = tuple(int(axis) for axis in np.argwhere(~np.isfinite(y) | (y != np.trunc(y)))[0])
        found += f", and {y[wrong]} at index {wrong[0] if len(wrong) == 1 else wrong}"
        cause = "Missing labels, or numbers to predict instead of classes."
        remedy = f'{name}[numpy.isfinite({name})], with the same samples   (or loss="mean_squared_error")'
    return ModelDoesNotFitError(
        f"{name} has {found}; {kind} takes the number of a class for {each}.", cause=cause, remedy=remedy
    )


def _in_range(values: Array, count: int, what: str, among: str, name: str) -> None:
    low, high = values.min(), values.max()
    if low < 0 or high >= count:
        wrong = low if low < 0 else high
        short = name.rsplit(maxsplit=1)[-1]
        where = tuple(int(axis) for axis in np.argwhere(values == wrong)[0])
        raise DataError(
            f"{what} {int(wrong)} (at index {where[0] if len(where) == 1 else where}), outside the {count} {among}.",
            cause="Numbers that count from 1, or -1 for what is missing.",
            remedy=f"{short} = {short} - {short}.min()   (or another model)",
        )


def _weights(network: Network, weight: Any, count: int, name: str) -> Float32:
    values = as_array(alone(weight), name)
    _numbers(values, name)
    if values.shape not in ((count,), (count, 1)) or len(network.shapes[network.output]) > 1:
        raise ModelDoesNotFitError(
            f"{name} has shape {values.shape}; the engine takes one weight for each of {count} samples, of one output each.",
            cause="Weights by class, or for each place of a sequence.",
            remedy="fit(..., class_weight={0: 1.0, 1: 2.0})   (or fallback=True, which trains with Keras)",
        )
    return np.ascontiguousarray(values.reshape(-1), np.float32)


def _by_class(labels: Array, class_weight: Mapping[int, float]) -> Float32:
    """The weight of each sample's class; of one-hot labels the largest, of numbers the nearest whole one."""
    flat = labels.argmax(axis=-1) if labels.ndim > 1 and labels.shape[-1] != 1 else labels.reshape(len(labels))
    classes = np.round(flat).astype(np.int64)
    found, places = np.unique(classes, return_inverse=True)
    return np.array([class_weight.get(int(each), 1.0) for each in found], np.float32)[places.reshape(-1)]
