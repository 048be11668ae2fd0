"""Runs a Keras model on a few images, as far as its first layer with weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import keras
import numpy as np

from epochwise.experiments.reach import FAINT, Reach
from epochwise.tracing.calls.keras import patched

_IMAGES = 32


class _Reached(BaseException):
    """Ends the model's run. No ``Exception``, to which Keras would add its own text, and which a user's code might catch."""

    def __init__(self, layer: str, span: float) -> None:
        self.layer, self.span = layer, span


def reach(model: Any, shape: Sequence[int], low: float, high: float) -> Reach | None:
    """What the first layer with weights sees of images whose numbers lie between ``low`` and ``high``.

    Args:
        model: built; its weights stay as they are.
        shape: of an image.
        low: the smallest number.
        high: the largest.

    Returns:
        ``None`` for a model without weights, and for one that does not run like this: its training will say what is wrong.
    """
    faded_by = ""

    def around(original: Callable[..., Any], layer: Any, *inputs: Any, **settings: Any) -> Any:
        nonlocal faded_by
        before = _span(inputs)
        if not isinstance(layer, keras.Model) and _has_weights(layer):
            raise _Reached(layer.name, before)
        outputs = original(layer, *inputs, **settings)
        if not faded_by and _span(outputs) < FAINT <= before:
            faded_by = layer.name
        return outputs

    images = np.random.default_rng(0).uniform(low, high, (_IMAGES, *shape)).astype(np.float32)
    try:
        with patched(keras.layers.Layer, "__call__", around), suppress(Exception):
            model(images, training=False)
    except _Reached as found:
        return Reach(found.layer, found.span, faded_by)
    return None


def _has_weights(layer: Any) -> bool:
    """Whether it or a part of it has weights that may be trained. Parts of a recurrent layer see no numbers of their own."""
    return any(each._trainable_variables for each in layer._flatten_layers())


def _span(values: Any) -> float:
    """Largest minus smallest of all arrays among these."""
    arrays = [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(values) if hasattr(each, "shape")]
    filled = [array for array in arrays if array.size]
    return float(max(array.max() for array in filled) - min(array.min() for array in filled)) if filled else 0.0
