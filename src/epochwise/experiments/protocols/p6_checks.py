"""What must hold exactly in P6: weights that no gradient ever reached, and a head that cannot tell background cells apart.

Only for models whose layers are known here (``layers`` in the description); a user's own are not looked into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from epochwise.experiments.canvas import Canvas, Place
from epochwise.experiments.data import halved, images, on_canvas
from epochwise.experiments.record import Check
from epochwise.experiments.stages import forward
from epochwise.experiments.study import Study
from epochwise.trials.trial import Result

if TYPE_CHECKING:
    from epochwise.experiments.protocols.p6 import Arm

_IMAGES = 64
_CELL_FIELD, _CELL_STRIDE = 10, 4
"""Pixels that a cell of the last map sees, and how far apart cells are, after two convolutions of 3 x 3 and poolings of 2."""
_ROUNDING = 2.0**-24


def checks(study: Study, canvas: Canvas, results: Sequence[tuple[Arm, Sequence[Result]]]) -> tuple[Check, ...]:
    """All checks of the arms whose weights were kept."""
    made: list[Check] = []
    for arm, found in results:
        layers = [str(layer[0]) for layer in arm.model.get("layers", ())]
        if layers[:2] == ["flatten", "dense"]:
            made.append(_untouched(arm, canvas, found))
        elif layers == ["conv", "pool", "conv", "pool", "flatten", "classes"]:
            lit = lit_cells(canvas, arm.place)
            made += [_alike(arm, canvas, found, lit), _same_features(study, arm, canvas, found[0], lit)]
            if arm.place == canvas.corner:
                made.append(_beyond(study, arm, canvas, found[0], lit))
    return tuple(made)


def lit_cells(canvas: Canvas, place: Place) -> NDArray[np.bool_]:
    """Cells of the last map that see any of the object: ``[down][right]``."""
    cells = np.arange(((canvas.side - 2) // 2 - 2) // 2)
    axes = [
        (_CELL_STRIDE * cells < at + length) & (_CELL_STRIDE * cells + _CELL_FIELD > at)
        for at, length in zip(place, canvas.size, strict=True)
    ]
    return axes[0][:, None] & axes[1][None, :]


def _untouched(arm: Arm, canvas: Canvas, found: Sequence[Result]) -> Check:
    """Their gradient is pixel times delta, and the pixel was always 0."""
    box = np.zeros((canvas.side, canvas.side), bool)
    box[arm.place[0] : arm.place[0] + canvas.size[0], arm.place[1] : arm.place[1] + canvas.size[1]] = True
    channels = found[0].arrays["first_0"].shape[0] // box.size
    never = np.repeat(~box.ravel(), channels)
    changed = moved = 0
    for result in found:
        first, last = (result.arrays[name].view(np.uint32) for name in ("first_0", "last_0"))
        changed += int((first[never] != last[never]).sum())
        moved += int((first[~never] != last[~never]).sum())
    count = int(never.sum()) * found[0].arrays["first_0"].shape[1] * len(found)
    return Check(
        f"{arm.name}: weights of pixels that were never lit are bit for bit as before training",
        changed == 0 and moved > 0,
        f"{changed:,} of {count:,} changed; of the others {moved:,} did",
    )


def _alike(arm: Arm, canvas: Canvas, found: Sequence[Result], lit: NDArray[np.bool_]) -> Check:
    """Background cells have equal features, so their weights get equal updates, and only rounding can tell them apart."""
    spread, bound, size = 0.0, 0.0, 0.0
    for result in found:
        first, last = (_head(result, name, lit.shape) for name in ("first", "last"))
        update = (last.astype(np.float64) - first)[~lit]
        spread = max(spread, float(np.ptp(update, axis=0).max()))
        size = max(size, float(np.abs((last.astype(np.float64) - first)[lit]).max()))
        bound = max(bound, _ROUNDING * float(np.abs(last).max()) * 2 * _steps(result))
    return Check(
        f"{arm.name}: the head's weights of all background cells moved alike, for each channel and class",
        spread <= bound,
        f"they differ by {spread:.1e} at most; rounding allows {bound:.1e}; elsewhere weights moved by up to {size:.2f}",
    )


def _same_features(study: Study, arm: Arm, canvas: Canvas, result: Result, lit: NDArray[np.bool_]) -> Check:
    """In float64, where equal sums have equal bits."""
    features = _features(study, arm, canvas, result, arm.place)
    background = features[:, ~lit]
    differing = int((background != background[:1, :1]).sum())
    return Check(
        f"{arm.name}: all cells that never saw the object hold the same bits, whatever the image",
        differing == 0,
        f"{differing} of {background.size:,} values differ, over {_IMAGES} images",
    )


def _beyond(study: Study, arm: Arm, canvas: Canvas, result: Result, lit: NDArray[np.bool_]) -> Check:
    """Cells that learnt something end somewhere; an object behind that is not seen by any of them."""
    last = int(np.flatnonzero(lit.any(axis=1))[-1])
    behind = next(offset for offset in canvas.offsets if offset >= _CELL_STRIDE * last + _CELL_FIELD)
    features = _features(study, arm, canvas, result, (behind, behind))[:, lit]
    differing = int((features != features[:1, :1]).sum())
    return Check(
        f"{arm.name}: from {behind} pixels on, no cell that ever saw the object sees it",
        differing == 0,
        f"these are {int(lit.sum())} of {lit.size} cells, up to number {last}; {differing} of their values tell images apart",
    )


def _features(study: Study, arm: Arm, canvas: Canvas, result: Result, place: Place) -> NDArray[np.float64]:
    """The last map of some test images with the object at a place: ``(N, H, W, C)``."""
    layers = list(arm.model["layers"])[:4]
    weights = [result.arrays[f"last_{number}"] for number in range(4)]
    x = on_canvas(halved(images(study.data.source).x_test[:_IMAGES]), np.array(place), canvas.side)
    return forward(layers, weights, x)[-1].values


def _head(result: Result, name: str, cells: tuple[int, ...]) -> NDArray[np.float32]:
    """The head's kernel as ``(down, right, channels, classes)``."""
    kernel = result.arrays[f"{name}_4"]
    return kernel.reshape(*cells, -1, kernel.shape[-1])


def _steps(result: Result) -> int:
    return int(result.numbers["test"]["steps"][-1])
