"""Charts of experiments: curves with bands, and single points with their names beside them.

Charts that belong side by side (the same arms, the same vertical axis) share its scale, and one legend above them. Whoever
does not see the colours can go by the dashes of lines and the shapes of points.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from epochwise.experiments.record import Chart, Evidence, Line
from epochwise.reporting.evidence_labels import Box, Spot, placed
from epochwise.reporting.factor_chart import NARROW
from epochwise.reporting.palette import SERIES, light
from epochwise.reporting.specs import Spec, below, beside, layer, layered

HEIGHT, GAP, AXIS = 230, 26, 62
MOST_BESIDE = 3
MOST_MARKED = 12
"""Points of a curve that still get a mark each."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (4, 2), (1, 2), (12, 3), (6, 2, 2, 2, 2, 2))
KEY, LETTER, LINE = 30, 6.7, 20
"""Of the legend: pixels of a sample with its gap, of a letter, of a row."""
LABEL_SIZE = 11.5
TITLE_LETTER = 8.2
RATE = ", rate "
"""What stands between an arm and its learning rate in the name of a series."""


class Look(NamedTuple):
    """How one arm is drawn, wherever it is."""

    colour: str
    shape: str
    dash: tuple[int, ...]


def looks(record: Evidence) -> dict[str, int]:
    """A place in the palette for each arm, the same in the whole record: the two models, then the others as they come.

    A series that is always alone in its chart needs no colour to be known by, and has no place.
    """
    charts = [chart for experiment in record.experiments for chart in experiment.charts if len(chart.lines) > 1]
    names = dict.fromkeys([*record.models, *(_arm(line.name) for chart in charts for line in chart.lines)])
    return {name: place for place, name in enumerate(names)}


def figures_of(charts: Sequence[Chart]) -> list[tuple[Chart, ...]]:
    """Charts in the groups in which they stand side by side: neighbours alike in kind, vertical axis and arms; 3 at most."""
    found: list[tuple[Chart, ...]] = []
    for chart in charts:
        if not any(line.x for line in chart.lines):
            continue
        if found and len(found[-1]) < MOST_BESIDE and _alike(found[-1][0], chart):
            found[-1] = (*found[-1], chart)
        else:
            found.append((chart,))
    return found


def drawing(charts: Sequence[Chart], width: int, places: dict[str, int]) -> Spec:
    """A picture of charts that stand side by side, or under each other where it is narrow.

    Args:
        charts: a group from :func:`figures_of`.
        width: pixels of all together.
        places: of :func:`looks`.
    """
    import altair as alt

    narrow = width <= NARROW
    names = list(dict.fromkeys(line.name for chart in charts for line in chart.lines))
    found = _looks_of(names, places)
    each = width - AXIS if narrow else (width - (len(charts) - 1) * GAP) / len(charts) - AXIS
    domain = _domain([value for chart in charts for value in _heights(chart)], "y" in charts[0].logarithmic)
    told_apart = len(names) < 2 or all(_named_beside(chart) for chart in charts)  # noqa: PLR2004 - one arm needs no legend
    if len(charts) == 1 and not told_apart:  # the title above the legend
        panel = _Panel(alt, charts[0], each, domain, found).drawn("")
        return below([_legend(alt, names, found, width), panel], 6, title=_title(alt, charts[0].title, each))
    panels = [_Panel(alt, chart, each, domain, found).drawn(chart.title) for chart in charts]
    joined = below(panels, GAP) if narrow else beside(panels, GAP)
    return joined if told_apart else below([_legend(alt, names, found, width), joined], 6)


def _arm(name: str) -> str:
    """What a series is of, without the learning rate that it was trained with."""
    return name.partition(RATE)[0]


def _title(alt: Any, text: str, width: float) -> Any:
    """In as many lines as it needs."""
    lines = textwrap.wrap(text, max(12, int(width / TITLE_LETTER))) or [""]
    return alt.TitleParams(lines, anchor="start", frame="group", fontSize=13, limit=width + AXIS)


def _alike(one: Chart, other: Chart) -> bool:
    """Whether two charts may share a vertical axis and a legend."""
    if (one.kind, one.y, "y" in one.logarithmic) != (other.kind, other.y, "y" in other.logarithmic):
        return False
    return {line.name for line in one.lines} == {line.name for line in other.lines}


def _looks_of(names: Sequence[str], places: dict[str, int]) -> dict[str, Look]:
    """The look of each arm; where two would be the same, the later one takes a free place."""
    if not places.keys() & {_arm(name) for name in names}:
        return dict.fromkeys(names, Look(light("total"), SHAPES[0], DASHES[0]))
    taken: dict[int, str] = {}
    for name in names:
        place = places.get(_arm(name), 0) % len(SERIES)
        free = [*range(place, len(SERIES)), *range(place)]
        taken[next((at for at in free if at not in taken), len(taken))] = name
    return {
        name: Look(light(SERIES[at % len(SERIES)]), SHAPES[at % len(SHAPES)], DASHES[at % len(DASHES)])
        for at, name in taken.items()
    }


def _named_beside(chart: Chart) -> bool:
    """Whether every arm is a single point, which has its name beside it."""
    return chart.kind == "points" and all(len(line.x) == 1 for line in chart.lines)


def _heights(chart: Chart) -> list[float]:
    return [value for line in chart.lines for values in (line.y, line.low, line.high) for value in values]


def _domain(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """The ends of an axis, with a little room beyond what is drawn."""
    known = [value for value in values if value > 0] if logarithmic else list(values)
    low, high = min(known, default=0.5), max(known, default=1.0)
    if logarithmic:
        room = (high / low) ** 0.06 if high > low else 1.5
        return low / room, high * room
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


class _Panel:
    """One chart with its axes."""

    def __init__(self, alt: Any, chart: Chart, width: float, y: tuple[float, float], found: dict[str, Look]) -> None:
        self.alt, self.chart, self.width, self.found = alt, chart, width, found
        places = [value for line in chart.lines for value in line.x]
        whole = all(float(value).is_integer() for value in places)
        self.across = _Axis(_domain(places, "x" in chart.logarithmic), "x" in chart.logarithmic, width, whole)
        self.down = _Axis(y, "y" in chart.logarithmic, HEIGHT)
        names = list(found)
        self.colour = alt.Color(
            "arm:N", scale=alt.Scale(domain=names, range=[found[name].colour for name in names]), legend=None
        )
        self.shape = alt.Shape("arm:N", scale=alt.Scale(domain=names, range=[found[name].shape for name in names]), legend=None)
        dashes = alt.Scale(domain=names, range=[list(found[name].dash) for name in names])
        self.dash = alt.StrokeDash("arm:N", scale=dashes, legend=None)

    def drawn(self, title: str) -> Spec:
        """All layers, from below, with a title unless that is empty."""
        rows = [row for line in self.chart.lines for row in _rows(line, self.across, self.down)]
        layers = self.curves(rows) if self.chart.kind == "curves" else self.points(rows)
        titled = {"title": _title(self.alt, title, self.width)} if title else {}
        return layered(layers, width=self.width, height=HEIGHT, **titled)

    def curves(self, rows: list[dict[str, Any]]) -> list[Spec]:
        """Bands, lines over them, marks where there are few."""
        base = self.base()
        line = layer(base.mark_line(strokeWidth=2.2).encode(strokeDash=self.dash), rows)
        layers = [self.band(rows), line] if any("low" in row for row in rows) else [line]
        if max((len(line.x) for line in self.chart.lines), default=0) <= MOST_MARKED:
            layers.append(layer(base.mark_point(filled=True, size=48, opacity=1).encode(shape=self.shape), rows))
        return layers

    def points(self, rows: list[dict[str, Any]]) -> list[Spec]:
        """Whiskers, points over them, and their names."""
        layers = [layer(self.base().mark_point(filled=True, size=80, opacity=1).encode(shape=self.shape), rows)]
        ranged = [row for row in rows if "low" in row]
        if ranged:
            layers.insert(0, layer(self.base("low").mark_rule(strokeWidth=1.6).encode(y2="high:Q"), ranged))
        return [*layers, *self.names(rows)]

    def names(self, rows: list[dict[str, Any]]) -> list[Spec]:
        """Names beside points, where they touch neither each other nor the frame."""
        named = [row for row in rows if row["label"]]
        spots = [Spot(self.across.pixel(row["x"]), HEIGHT - self.down.pixel(row["y"]), row["label"]) for row in named]
        whiskers = [self.whisker(row) for row in rows if "low" in row]
        found = list(zip(named, placed(spots, self.width, HEIGHT, LABEL_SIZE, whiskers), strict=True))
        layers = []
        for side in dict.fromkeys(label.side for _, label in found):
            align, right, down = side
            style = {"baseline": "middle", "fontSize": LABEL_SIZE, "color": light("ink")}
            text = self.base(coloured=False).mark_text(align=align, dx=right, dy=down, **style).encode(text="label:N")
            layers.append(layer(text, [row for row, label in found if label.side == side]))
        return layers

    def whisker(self, row: dict[str, Any]) -> Box:
        """What the line of an interval covers."""
        x, top, bottom = (self.across.pixel(row["x"]), *(HEIGHT - self.down.pixel(row[end]) for end in ("high", "low")))
        return Box(x - 2, top, x + 2, bottom)

    def band(self, rows: list[dict[str, Any]]) -> Spec:
        """The intervals, faintly."""
        ranged = [row for row in rows if "low" in row]
        return layer(self.base("low").mark_area(opacity=0.16).encode(y2="high:Q"), ranged)

    def base(self, y: str = "y", coloured: bool = True) -> Any:
        """An Altair chart on this panel's axes, without data."""
        across = self.alt.X(
            "x:Q", title=self.chart.x, scale=self.across.scale(self.alt), axis=self.across.axis(self.alt, grid=False)
        )
        down = self.alt.Y(
            f"{y}:Q", title=self.chart.y, scale=self.down.scale(self.alt), axis=self.down.axis(self.alt, grid=True)
        )
        chart = self.alt.Chart().encode(x=across, y=down, detail="arm:N")
        return chart.encode(color=self.colour) if coloured else chart


class _Axis(NamedTuple):
    """One axis: its ends, whether it is logarithmic, its length in pixels, and whether it has nothing between whole numbers."""

    ends: tuple[float, float]
    logarithmic: bool
    length: float
    whole: bool = False

    def scale(self, alt: Any) -> Any:
        """As altair has it."""
        return alt.Scale(
            type="log" if self.logarithmic else "linear", domain=list(self.ends), nice=False, zero=False, clamp=True
        )

    def axis(self, alt: Any, grid: bool) -> Any:
        """With ticks that do not crowd, and figures as people write them."""
        ticks: dict[str, Any] = {"values": self.ticks()} if self.logarithmic else {"tickCount": max(3, int(self.length / 55))}
        if self.whole and not self.logarithmic:
            ticks["tickMinStep"] = 1
        return alt.Axis(grid=grid, format=self.format(), titleLimit=max(self.length, 120), labelOverlap="greedy", **ticks)

    def ticks(self) -> list[float]:
        """Powers of ten, with 2 and 5 times them where these are few."""
        low, high = self.ends
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
            found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
            if len(found) >= 3:  # noqa: PLR2004 - fewer do not make a scale
                return found
        return found

    def format(self) -> str:
        """``10k`` and ``2M`` where figures are large, else plain."""
        if self.ends[1] >= 10_000:  # noqa: PLR2004
            return "~s"
        return ",d" if self.whole else ",~g"  # the latter may write 1e+1 for 10

    def pixel(self, value: float) -> float:
        """From the beginning of the axis."""
        low, high, at = (
            (math.log(part) for part in (*self.ends, max(value, self.ends[0]))) if self.logarithmic else (*self.ends, value)
        )
        return self.length * (at - low) / (high - low)


def _rows(line: Line, across: _Axis, down: _Axis) -> list[dict[str, Any]]:
    """Points of a series that the axes can show: a logarithmic one has no place for 0 and less."""
    rows = []
    for place, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        if (across.logarithmic and x <= 0) or (down.logarithmic and y <= 0):
            continue
        label = line.labels[place] if line.labels else line.name if len(line.x) == 1 else ""
        row: dict[str, Any] = {"arm": line.name, "x": x, "y": y, "label": label}
        if line.low and line.high:
            row |= {"low": max(line.low[place], down.ends[0]), "high": line.high[place]}
        rows.append(row)
    return rows


def _legend(alt: Any, names: Sequence[str], found: dict[str, Look], width: float) -> Spec:
    """Samples with names, in as many rows as they need."""
    rows: list[dict[str, Any]] = []
    x, y = 0.0, LINE / 2
    for name in names:
        shown = name if len(name) * LETTER + KEY <= width else f"{name[: int((width - KEY) / LETTER) - 1]}…"
        taken = KEY + len(shown) * LETTER + 14
        if x and x + taken > width:
            x, y = 0.0, y + LINE
        rows.append({"arm": name, "text": shown, "x": x, "middle": x + 11, "end": x + 22, "after": x + KEY, "y": y})
        x += taken
    height = y + LINE / 2
    across, down = alt.Scale(domain=[0, width]), alt.Scale(domain=[height, 0])
    base = alt.Chart().encode(y=alt.Y("y:Q", scale=down, axis=None))
    names = list(found)
    colour = alt.Color("arm:N", scale=alt.Scale(domain=names, range=[found[name].colour for name in names]), legend=None)
    dash = alt.StrokeDash("arm:N", scale=alt.Scale(domain=names, range=[list(found[name].dash) for name in names]), legend=None)
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=names, range=[found[name].shape for name in names]), legend=None)

    def at(field: str) -> Any:
        return alt.X(f"{field}:Q", scale=across, axis=None)

    rule = base.mark_rule(strokeWidth=2.2).encode(x=at("x"), x2="end:Q", color=colour, strokeDash=dash)
    point = base.mark_point(filled=True, size=48, opacity=1).encode(x=at("middle"), color=colour, shape=shape)
    text = base.mark_text(align="left", baseline="middle", fontSize=12, color=light("ink")).encode(x=at("after"), text="text:N")
    return layered([layer(each, rows) for each in (rule, point, text)], width=width, height=height)
