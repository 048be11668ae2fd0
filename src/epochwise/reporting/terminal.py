"""What the terminal reports share: headings, tables without frames, notes, bars, and drawing for the width that there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

SLOWER, FASTER, QUIET = "red", "green", "dim"
FULL, LEFT_HALF, RIGHT_HALF, AXIS = "█", "▌", "▐", "│"


class Sized:
    """Something whose drawing depends on how many columns there are."""

    def __init__(self, draw: Callable[[int], RenderableType]) -> None:
        self._draw = draw

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._draw(options.max_width)


def heading(text: str, detail: str = "") -> Text:
    """The title of a block, with what it is about."""
    line = Text(text, style="bold")
    if detail:
        line.append(f"  {detail}", style=QUIET)
    return line


def blocks(*parts: RenderableType | None) -> Group:
    """Parts under each other with an empty line between; ``None`` is left out."""
    shown: list[RenderableType] = []
    for part in parts:
        if part is not None:
            shown += [Text(""), part] if shown else [part]
    return Group(*shown)


def plain_table(gap: int = 2, header: bool = True) -> Table:
    """A table without frames."""
    return Table(
        box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold", show_header=header, collapse_padding=True
    )


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what they stand for."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def notes(rows: Iterable[str], title: str = "Notes") -> Group | None:
    """Sentences under a heading, or nothing."""
    listed = [hanging(note) for note in rows]
    return Group(heading(title), *listed) if listed else None


def hanging(text: str) -> Padding:
    """A sentence, wrapped and indented."""
    return Padding(Text(text), (0, 0, 0, 2))


def around_one(ratio: float, lowest: float, highest: float, columns: int) -> Text:
    """A bar on a log scale from the axis at 1: to the right where ``ratio`` is above, to the left below, to half a column.

    Args:
        ratio: what is drawn.
        lowest: the least ratio on the scale, at most 1.
        highest: the greatest, at least 1.
        columns: of the whole scale, its axis included.
    """
    left, right = sides(lowest, highest, columns)
    scale = max(math.log(highest) - math.log(lowest), 1e-9) / max(1, left + right)
    halves = round(2 * abs(math.log(ratio)) / scale) if ratio > 0 else 0
    text = Text(no_wrap=True)
    if ratio < 1:
        halves = min(halves, 2 * left)
        bar = (RIGHT_HALF if halves % 2 else "") + FULL * (halves // 2)
        text.append(bar.rjust(left), FASTER).append(AXIS, QUIET).append(" " * right)
    else:
        halves = min(halves, 2 * right)
        bar = FULL * (halves // 2) + (LEFT_HALF if halves % 2 else "")
        text.append(" " * left).append(AXIS, QUIET).append(bar.ljust(right), SLOWER)
    return text


def sides(lowest: float, highest: float, columns: int) -> tuple[int, int]:
    """Columns to the left and to the right of the axis at 1."""
    below, above = -math.log(lowest), math.log(highest)
    room = columns - 1
    left = round(room * below / (below + above)) if below + above > 0 else room // 2
    return left, room - left
