"""What an optimizer does with the gradients of one step, as Keras 3 does it: clip, decay, move."""

from __future__ import annotations

import numpy as np

from epochwise.engine.network import Network, Optimizer
from epochwise.engine.twin.windows import Array


def update(
    network: Network,
    weights: list[Array],
    slots: list[list[Array]],
    gradients: dict[int, Array],
    learning_rate: np.float32,
    step: int,
) -> None:
    """One step of the optimizer, in place.

    Args:
        network: names the optimizer, and which weights are trained.
        weights: by their place.
        slots: the optimizer's arrays of each weight.
        gradients: of the trained weights, penalties included, by place.
        learning_rate: of this step.
        step: how many were done before.
    """
    optimizer = network.optimizer
    for place, gradient in clipped(optimizer, gradients).items():
        weight = weights[place]
        rate = weight.dtype.type(learning_rate)
        if optimizer.weight_decay is not None and network.weights[place].decays:
            weight -= weight * weight.dtype.type(optimizer.weight_decay) * rate
        if optimizer.kind == "sgd":
            _sgd(optimizer, weight, slots[place], gradient, rate)
        else:
            _adam(optimizer, weight, slots[place], gradient, learning_rate, step)


def clipped(optimizer: Optimizer, gradients: dict[int, Array]) -> dict[int, Array]:
    """The gradients no longer or larger than asked for; Keras allows one kind of clipping at a time."""
    if optimizer.clip_norm:
        most = optimizer.clip_norm
        return {place: g * (most / max(_length([g]), most)) for place, g in gradients.items()}
    if optimizer.global_clip_norm:
        # Keras adds (length - length), which turns the factor into NaN where the length is infinite or NaN.
        length, most = _length(list(gradients.values())), optimizer.global_clip_norm
        factor = most * min(np.divide(1.0, length), 1.0 / most) + (length - length)
        return {place: g * g.dtype.type(factor) for place, g in gradients.items()}
    if optimizer.clip_value:
        return {place: np.clip(g, -optimizer.clip_value, optimizer.clip_value) for place, g in gradients.items()}
    return gradients


def _length(gradients: list[Array]) -> np.float64:
    squares = sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients)
    return np.float64(squares**0.5)


def _sgd(optimizer: Optimizer, weight: Array, slots: list[Array], gradient: Array, rate: np.floating) -> None:
    """``m = mu m - lr g; w += m``. Nesterov looks ahead: ``w += mu m - lr g``. Without momentum ``w -= lr g``."""
    if not optimizer.momentum:
        weight -= gradient * rate
        return
    (moved,) = slots
    mu = weight.dtype.type(optimizer.momentum)
    moved[...] = moved * mu - gradient * rate
    weight += moved * mu - gradient * rate if optimizer.nesterov else moved


def _adam(
    optimizer: Optimizer, weight: Array, slots: list[Array], gradient: Array, learning_rate: np.float32, step: int
) -> None:
    """``m += (g-m)(1-b1); v += (g^2-v)(1-b2); w -= alpha m / (sqrt(v) + epsilon)``.

    ``alpha = lr sqrt(1-b2^t) / (1-b1^t)`` with ``t = step + 1``. It is always made of float32 numbers, as Keras makes it: for
    small ``t`` the rounding of ``1 - b2^t`` is a few units in the fifth digit, which would otherwise show as a difference.
    """
    first, second = slots
    kind = weight.dtype.type
    power_1, power_2 = (np.float32(np.float64(np.float32(beta)) ** (step + 1)) for beta in (optimizer.beta_1, optimizer.beta_2))
    alpha = learning_rate * np.sqrt(np.float32(1) - power_2) / (np.float32(1) - power_1)
    first += (gradient - first) * kind(1 - optimizer.beta_1)
    second += (gradient * gradient - second) * kind(1 - optimizer.beta_2)
    weight -= first * kind(alpha) / (np.sqrt(second) + kind(optimizer.epsilon))
