"""Names beside points: each goes to the first place around its point where it covers neither a point nor another name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LETTER = 0.56
"""Width of a letter, as a share of the size of the type."""
NEAR = 9.0
"""Pixels from the middle of a point to its name."""


class Spot(NamedTuple):
    """A point in pixels from the upper left corner, and its name."""

    x: float
    y: float
    text: str


class Label(NamedTuple):
    """Where a name stands: the middle of its height, and the end of it that ``align`` names; from its point so far."""

    x: float
    y: float
    text: str
    align: str
    right: float
    down: float

    @property
    def side(self) -> tuple[str, float, float]:
        """Where it is, seen from its point."""
        return self.align, self.right, self.down


class Box(NamedTuple):
    """A rectangle, in pixels from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float

    def common(self, other: Box) -> float:
        """The area of both."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, across) * max(0.0, down)


def placed(spots: Sequence[Spot], width: float, height: float, size: float, others: Sequence[Box] = ()) -> list[Label]:
    """A place for each name, from the right of its point around it; where none is free, the one that covers least.

    Args:
        spots: points with names.
        width: of the panel, in pixels; no name reaches beyond it where that can be helped.
        height: of the panel.
        size: of the type, in pixels.
        others: what names should not cover either.
    """
    frame = Box(0, 0, width, height)
    taken = [*others, *(Box(spot.x - 5, spot.y - 5, spot.x + 5, spot.y + 5) for spot in spots)]
    found = []
    for spot in spots:
        length = len(spot.text) * size * LETTER
        box, label = min(
            ((_box(option, length, size), option) for option in _options(spot, size)),
            key=lambda choice: _cost(choice[0], taken, frame),  # the first of equals
        )
        taken.append(box)
        found.append(label)
    return found


def _options(spot: Spot, size: float) -> list[Label]:
    """Places around a point, the usual ones first."""
    far = NEAR + size / 2
    sides = [("left", NEAR, 0.0), ("right", -NEAR, 0.0), ("center", 0.0, -far), ("center", 0.0, far)]
    sides += [("left", NEAR / 2, -far), ("left", NEAR / 2, far), ("right", -NEAR / 2, -far), ("right", -NEAR / 2, far)]
    return [Label(spot.x + right, spot.y + down, spot.text, align, right, down) for align, right, down in sides]


def _box(label: Label, length: float, size: float) -> Box:
    left = {"left": label.x, "center": label.x - length / 2, "right": label.x - length}[label.align]
    return Box(left, label.y - size / 2, left + length, label.y + size / 2)


def _cost(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """What a name would cover, and what of it would stand outside."""
    area = (box.right - box.left) * (box.bottom - box.top)
    return sum(box.common(other) for other in taken) + 2 * (area - box.common(frame))
