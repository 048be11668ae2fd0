"""Batch and layer normalization."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from epochwise.engine.code import Given
from epochwise.engine.kernels import normalization
from epochwise.engine.network import BatchNormalization, Float32, LayerNormalization
from epochwise.engine.plan import floats
from epochwise.engine.stages.copies import aligned
from epochwise.engine.stages.planning import Planning, Tensor
from epochwise.engine.stages.simple import kept, like


def plan_batch_normalization(planning: Planning, operation: BatchNormalization, output: int, relu: bool) -> None:
    """Plan it, with a relu that follows; ``output`` is the last tensor of the two.

    In training it has the step's statistics, which all threads put together, and otherwise the running ones.
    """
    x = aligned(planning, operation.inputs[0])
    y = like(planning, output, x)
    channels = x.form.pitch
    lanes = x.form.lanes(planning.target)
    moments, statistics = floats(planning.threads, 2, channels), floats(planning.threads, 2, channels)
    scaling: dict[str, Given] = {
        "gamma": _vector(planning, operation.gamma, kept(x.form)),
        "beta": _vector(planning, operation.beta, planning.zeros(channels)),
    }
    statistics_of: dict[str, Given] = {
        "statistics": statistics,
        "running_mean": planning.pack(operation.mean, (channels,)).values,
        "running_variance": planning.pack(operation.variance, (channels,)).values,
        "channels": channels,
        "epsilon": float(operation.epsilon),
    }
    running = normalization.running_statistics(lanes=lanes)
    planning.add_predicting(running, **statistics_of)
    if operation.frozen:
        planning.add_training(running, **statistics_of)
    else:
        given: dict[str, Given] = {"moments": moments, "blocks": x.form.blocks}
        planning.add_training(normalization.moments(lanes=lanes), x=x.values, channels=channels, **given)
        planning.add_training(
            normalization.batch_statistics(lanes=lanes), **statistics_of, **given, momentum=float(operation.momentum)
        )
    planning.add_forward(
        normalization.normalize(lanes=lanes, relu=relu),
        x=x.values,
        y=y.values,
        statistics=statistics,
        **scaling,
        blocks=x.form.blocks,
        channels=channels,
    )
    planning.later(lambda: _batch_backward(planning, operation, x, y, {"statistics": statistics, **scaling}, relu))


def _vector(planning: Planning, number: int | None, otherwise: Float32) -> Float32:
    return otherwise if number is None else planning.pack(number, otherwise.shape).values


def _gradient(planning: Planning, number: int | None, size: int) -> Float32:
    """Where the gradient of gamma or beta is added up; a place of its own where nobody wants it."""
    if number is None or not planning.network.weights[number].trained:
        return floats(planning.threads, size)
    return planning.weights[number].gradient


def _batch_backward(
    planning: Planning,
    operation: BatchNormalization,
    x: Tensor,
    y: Tensor,
    forward: Mapping[str, Given],
    relu: bool,
) -> None:
    if not y.arrived or y.gradient is None:
        return
    channels, lanes = x.form.pitch, x.form.lanes(planning.target)
    sums = floats(planning.threads, 2, channels)
    common: dict[str, Given] = {
        "x": x.values,
        "dy": y.gradient,
        "sums": sums,
        "blocks": x.form.blocks,
        "channels": channels,
        **forward,
    }
    planning.add_backward(
        normalization.normalization_sums(lanes=lanes, relu=relu),
        **common,
        gamma_gradient=_gradient(planning, operation.gamma, channels),
        beta_gradient=_gradient(planning, operation.beta, channels),
    )
    for number in (operation.gamma, operation.beta):
        if number is not None:
            planning.train(number)
    if x.gradient is not None:
        planning.add_backward(
            normalization.normalization_gradient(lanes=lanes, relu=relu, frozen=operation.frozen, add=x.arrived),
            **common,
            dx=x.gradient,
        )
        x.arrived = True


def plan_layer_normalization(planning: Planning, operation: LayerNormalization) -> None:
    """Each block, or the whole sample, by itself."""
    x = aligned(planning, operation.inputs[0])
    y = like(planning, operation.output, x)
    blocks = x.form.blocks if operation.whole else 1
    room = (blocks, x.form.pitch)
    keep = np.ascontiguousarray(np.tile(kept(x.form), blocks))
    split = (blocks, x.form.channels) if operation.whole else None
    for number in (operation.gamma, operation.beta):
        if number is not None:
            planning.pack(number, room if operation.whole else room[1:], split=split)
    gamma = keep if operation.gamma is None else planning.weights[operation.gamma].values
    beta = planning.zeros(keep.size) if operation.beta is None else planning.weights[operation.beta].values
    rows = x.form.blocks // blocks
    statistics = floats(planning.batch, rows, 2)
    common: dict[str, Given] = {
        "x": x.values,
        "statistics": statistics,
        "gamma": gamma,
        "keep": keep,
        "rows": rows,
        "row": keep.size,
        "numbers": float(blocks * x.form.channels),
    }
    lanes = x.form.lanes(planning.target)
    planning.add_forward(
        normalization.layer_normalization(lanes=lanes), **common, y=y.values, beta=beta, epsilon=float(operation.epsilon)
    )

    def backward() -> None:
        if not y.arrived or y.gradient is None:
            return
        into_input = x.gradient is not None
        planning.add_backward(
            normalization.layer_normalization_gradient(lanes=lanes, into_input=into_input, add=x.arrived),
            **common,
            dy=y.gradient,
            dx=x.gradient if x.gradient is not None else y.gradient,
            gamma_gradient=_gradient(planning, operation.gamma, keep.size),
            beta_gradient=_gradient(planning, operation.beta, keep.size),
        )
        for number in (operation.gamma, operation.beta):
            if number is not None:
                planning.train(number)
        x.arrived = x.arrived or into_input

    planning.later(backward)
