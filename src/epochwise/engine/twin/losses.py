"""Losses with their gradients, metrics and penalties, as Keras 3 computes them.

Legend: ``B`` samples, ``K`` numbers per place of the output, ``t`` what is wanted, ``z`` logits, ``p`` probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from epochwise.engine.network import Loss, Metric, Network, Weight
from epochwise.engine.twin.operations import sigmoid, softmax
from epochwise.engine.twin.windows import Array

CLIP = 1e-7
"""``keras.config.epsilon()``: probabilities closer than this to 0 or 1 are taken for it, and have no gradient."""


def loss_and_gradient(loss: Loss, output: Array, y: Array) -> tuple[Array, Array]:
    """The loss of each place, and its gradient with respect to ``output``, place by place.

    Args:
        loss: which.
        output: ``B ... K``: the logits where the loss has them (``loss.logits`` or ``from_logits``), else the model's output.
        y: whole numbers ``B ...`` for the sparse loss, else ``B ... K``.

    Returns:
        ``B ...`` and ``B ... K``: each place's loss, and the gradient of the sum of these.
    """
    has_logits = loss.from_logits or loss.logits is not None
    wanted = _wanted(loss, output, y)
    if loss.kind == "mean_squared_error":
        return ((output - wanted) ** 2).mean(axis=-1), 2 * (output - wanted) / output.shape[-1]
    if loss.kind == "binary_crossentropy":
        if has_logits:  # -t log s(z) - (1-t) log(1-s(z)) = max(z,0) - t z + log(1+exp(-|z|)), without overflow
            values = np.maximum(output, 0) - output * wanted + np.log1p(np.exp(-np.abs(output)))
            gradient = sigmoid(output) - wanted
        else:
            p, inside = _clipped(output)
            values = -(wanted * np.log(p) + (1 - wanted) * np.log(1 - p))
            gradient = np.where(inside, (p - wanted) / (p * (1 - p)), 0)
        return values.mean(axis=-1), gradient / output.shape[-1]
    if has_logits:  # log softmax(z) = z - max - log sum exp(z - max)
        low = output - output.max(axis=-1, keepdims=True)
        log_p = low - np.log(np.exp(low).sum(axis=-1, keepdims=True))
        return -(wanted * log_p).sum(axis=-1), softmax(output) * wanted.sum(axis=-1, keepdims=True) - wanted
    p, inside = _clipped(output)
    return -(wanted * np.log(p)).sum(axis=-1), np.where(inside, -wanted / p, 0)


def _wanted(loss: Loss, output: Array, y: Array) -> Array:
    """``t`` in the output's shape, smoothed: what is wanted moves towards all being equal."""
    if loss.kind == "sparse_categorical_crossentropy":
        return np.eye(output.shape[-1], dtype=output.dtype)[y]
    wanted = y.astype(output.dtype)
    if loss.label_smoothing and loss.kind == "categorical_crossentropy":
        wanted = wanted * (1 - loss.label_smoothing) + loss.label_smoothing / output.shape[-1]
    elif loss.label_smoothing and loss.kind == "binary_crossentropy":
        wanted = wanted * (1 - loss.label_smoothing) + loss.label_smoothing / 2
    return wanted.astype(output.dtype)


def _clipped(output: Array) -> tuple[Array, Array]:
    """Probabilities within the borders, and where they were. NaN counts as within, so that it goes on into the gradient."""
    low, high = np.float32(CLIP), np.float32(1 - CLIP)  # in float64 too: the upper one is 1 - 1.19e-7 as Keras has it
    return np.clip(output, low, high), ~((output < low) | (output > high))


def metric_values(metric: Metric, output: Array, y: Array) -> Array:
    """The metric of each sample: ``B``."""
    if metric.kind == "sparse_categorical_accuracy":
        values = output.argmax(axis=-1) == y
    elif metric.kind == "categorical_accuracy":
        values = output.argmax(axis=-1) == y.argmax(axis=-1)
    elif metric.kind == "binary_accuracy":
        values = (output > metric.threshold) == y
    elif metric.kind == "mean_squared_error":
        values = (output - y) ** 2
    else:
        values = np.abs(output - y)
    means: Array = values.reshape(len(output), -1).mean(axis=-1)
    return means


def penalties(network: Network, weights: Sequence[Array]) -> float:
    """What regularizers add to each batch's loss."""
    return float(
        sum(
            weight.l1 * np.abs(array).sum() + weight.l2 * (array**2).sum()
            for weight, array in zip(network.weights, weights, strict=True)
            if weight.l1 or weight.l2
        )
    )


def penalty_gradient(weight: Weight, array: Array) -> Array:
    """Of ``l1 |w| + l2 w^2``; that of ``|w|`` at 0 is 0."""
    kind = array.dtype.type
    result: Array = kind(weight.l1) * np.sign(array) + kind(2 * weight.l2) * array
    return result
