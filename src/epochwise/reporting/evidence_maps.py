"""Accuracy by position: how maps are grouped, and a coarse drawing of them in characters.

A character is about twice as high as it is wide, so each stands for two offsets down and one to the right.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from epochwise.experiments.record import PositionMap
from epochwise.reporting.figures import shortened
from epochwise.reporting.terminal import QUIET

SHADES = " ░▒▓█"
"""From nothing to the best of all maps; the first is for what is below a fifth of it."""
TRAINED = "×"
LEAST_COLUMNS = 15
GAP = 3


def place_text(found: PositionMap) -> str:
    """Where a model saw the objects that it was trained on."""
    if found.trained_at is None:
        return "everywhere"
    down, right = found.trained_at
    return f"at ({down}, {right})"


def rows_of(maps: Sequence[PositionMap]) -> list[list[PositionMap]]:
    """Maps that belong side by side: trained in one place; those that were trained everywhere stand with the row before."""
    rows: list[list[PositionMap]] = []
    for found in maps:
        before = rows[-1][0] if rows else None
        alike = before is not None and (found.trained_at, found.offsets) == (before.trained_at, before.offsets)
        if alike or (before is not None and found.trained_at is None):
            rows[-1].append(found)
        else:
            rows.append([found])
    return rows


def best(maps: Sequence[PositionMap]) -> float:
    """The highest accuracy of all: the end of their common scale."""
    return max((value for found in maps for row in found.accuracy for value in row), default=1.0) or 1.0


def mean(found: PositionMap) -> float:
    """Over all positions."""
    values = [value for row in found.accuracy for value in row]
    return sum(values) / len(values) if values else 0.0


def characters(found: PositionMap, highest: float) -> list[str]:
    """The map as lines, one character for two offsets down; the place of training is marked."""
    lines = []
    for top in range(0, len(found.accuracy), 2):
        rows = found.accuracy[top : top + 2]
        line = [_shade(sum(values) / len(values) / highest) for values in zip(*rows, strict=True)]
        if (
            found.trained_at is not None
            and found.trained_at[0] in found.offsets[top : top + 2]
            and found.trained_at[1] in found.offsets
        ):
            line[found.offsets.index(found.trained_at[1])] = TRAINED
        lines.append("".join(line))
    return lines


def drawn_maps(maps: Sequence[PositionMap], width: int) -> RenderableType:
    """All maps side by side, as many as fit, with one scale for all."""
    highest = best(maps)
    parts: list[RenderableType] = [_scale(maps, highest)]
    for row in rows_of(maps):
        columns = max(LEAST_COLUMNS, *(len(found.offsets) + 2 for found in row))
        fit = max(1, (width + GAP) // (columns + GAP))
        for start in range(0, len(row), fit):
            parts += [Text(""), _row(row[start : start + fit], columns, highest)]
    return Group(*parts)


def _row(maps: Sequence[PositionMap], columns: int, highest: float) -> Grid:
    grid = Grid.grid(padding=(0, GAP, 0, 0))
    for _ in maps:
        grid.add_column(width=columns, no_wrap=True)
    grid.add_row(*(Text(shortened(found.arm, columns), "bold") for found in maps))
    grid.add_row(*(Text(shortened(place_text(found), columns), QUIET) for found in maps))
    grid.add_row(*(_framed(found, highest) for found in maps))
    grid.add_row(*(Text(f"mean {mean(found):.2f}", QUIET) for found in maps))
    return grid


def _framed(found: PositionMap, highest: float) -> Text:
    edge = "─" * len(found.offsets)
    lines = [f"┌{edge}┐", *(f"│{line}│" for line in characters(found, highest)), f"└{edge}┘"]
    return Text("\n".join(lines))


def _scale(maps: Sequence[PositionMap], highest: float) -> Text:
    """What the shades mean."""
    steps = [f"{SHADES[1]} from {highest / len(SHADES):.2f}"]
    steps += [f"{shade} {place * highest / len(SHADES):.2f}" for place, shade in enumerate(SHADES) if place > 1]
    mark = f"; {TRAINED} in training" if any(found.trained_at for found in maps) else ""
    title = "Accuracy by position of the object, and where it was in training"
    return Text.assemble((title, "bold"), (f"\n{', '.join(steps)}{mark}", QUIET))


def _shade(share: float) -> str:
    if share != share:  # noqa: PLR0124 - not a number: nothing was measured there
        return "?"
    return SHADES[min(len(SHADES) - 1, max(0, int(share * len(SHADES))))]
