"""3x3 convolutions of stride 1, and their gradients, with fewer multiplications (see ``kernels/winograd.py``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.code import Call, Given
from epochwise.engine.forms import Form, Packed
from epochwise.engine.kernels import winograd
from epochwise.engine.network import Float32
from epochwise.engine.plan import floats
from epochwise.engine.stages.alike import convolution_gradient_rows
from epochwise.engine.stages.planning import Planning

_ROOM = 1 << 14
"""Floats of the patches, and of the products, of the tiles that are handled together: both stay in the second-level cache."""

_LEAST = 8
"""Tiles that are handled together at least: those of a register tile."""


@dataclass(frozen=True, slots=True)
class Maps:
    """What a 3x3 convolution of stride 1 reads and writes.

    Attributes:
        x, y: its maps, of the whole batch; ``x`` has the border that the convolution needs.
        x_form, y_form: how a sample of each lies in memory.
    """

    x: Float32
    x_form: Form
    y: Float32
    y_form: Form

    @property
    def tiles(self) -> int:
        """Of a sample."""
        height, width, _ = self.y_form.shape
        return height * width // (winograd.TILE * winograd.TILE)

    def starts(self, form: Form) -> NDArray[np.int64]:
        """Where each tile's first pixel lies in a map of this form, in floats."""
        height, width, _ = self.y_form.shape
        down, across = np.meshgrid(np.arange(0, height, winograd.TILE), np.arange(0, width, winograd.TILE), indexing="ij")
        return ((down * form.shape[1] + across) * form.pitch).ravel().astype(np.int64)


def fits(planning: Planning, kernel: tuple[int, int], x: Form, y: Form) -> bool:
    """Whether a convolution of one group, without strides and dilation, can be done so, and fills whole vectors."""
    lanes = planning.target.lanes
    filled = all(form.channels >= lanes and form.pitch % lanes == 0 for form in (x, y))
    even = all(size % winograd.TILE == 0 for size in y.shape[:2])
    return kernel == (winograd.TAPS, winograd.TAPS) and filled and even


def transformed(planning: Planning, weights: Packed, inputs: int, outputs: int, *, predicting: bool) -> Float32:
    """Room for a kernel ``(3, 3, inputs, outputs)`` as the convolution reads it, worked out before each step."""
    made = floats(winograd.ELEMENTS, inputs, outputs)
    variant = winograd.winograd_kernel(lanes=planning.target.lanes)
    given: dict[str, Given] = {"weights": weights.values, "transformed": made, "inputs": inputs, "outputs": outputs}
    planning.add_preparing(Call(variant, given, items=inputs), predicting=predicting)
    return made


def convolution_call(planning: Planning, maps: Maps, weights: Float32, bias: Float32, inputs: int, *, add: bool) -> Call:
    """``y = x * weights + bias``, or added to ``y``; the weights are transformed, ``inputs`` are without padding."""
    lanes = planning.target.lanes
    given = _given(planning, maps, inputs)
    vectors, positions = planning.tile(maps.y_form.pitch // lanes, int(given["together"]))
    variant = winograd.winograd_convolution(lanes=lanes, positions=positions, vectors=vectors, add=add)
    return Call(variant, {**given, "weights": weights, "bias": bias, "y": maps.y})


def add_gradient(planning: Planning, maps: Maps, weights: Packed, inputs: int) -> None:
    """Plan the gradient of a kernel, where ``y`` of the maps is that of the output."""
    lanes, outputs = planning.target.lanes, maps.y_form.pitch
    sums = floats(planning.threads, winograd.ELEMENTS, inputs, outputs)
    vectors, _ = planning.tile(outputs // lanes, maps.tiles)
    variant = winograd.winograd_gradient(lanes=lanes, rows=convolution_gradient_rows(vectors), vectors=vectors)
    planning.add_backward(variant, **_given(planning, maps, inputs), dy=maps.y, sums=sums)
    folded = winograd.winograd_kernel_gradient(lanes=lanes)
    given: dict[str, Given] = {"sums": sums, "gradient": weights.gradient, "inputs": inputs, "outputs": outputs}
    planning.folded.append(Call(folded, given, items=inputs))


def _given(planning: Planning, maps: Maps, inputs: int) -> dict[str, Given]:
    x, y = maps.x_form, maps.y_form
    together = min(maps.tiles, max(_LEAST, _ROOM // (winograd.ELEMENTS * max(x.pitch, y.pitch))))
    patches, products = (winograd.ELEMENTS * (together * form.pitch + winograd.GAP) for form in (x, y))
    return {
        "x": maps.x,
        "patches": planning.scratch("patches", patches),
        "products": planning.scratch("products", products),
        "x_starts": maps.starts(x),
        "y_starts": maps.starts(y),
        "tiles_in_all": maps.tiles,
        "together": together,
        "inputs": inputs,
        "x_sample": x.size,
        "x_line": x.shape[1] * x.pitch,
        "x_pixel": x.pitch,
        "y_sample": y.size,
        "y_line": y.shape[1] * y.pitch,
        "y_pixel": y.pitch,
    }
