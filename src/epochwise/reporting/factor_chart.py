"""How the factors are drawn: as steps on a log scale, from the first model's epoch to the second's.

Each bar begins where the one above ends and multiplies it. After `reuse` stands what follows from the counts alone, the
arithmetic. The last bar is the measured ratio, and the steps lead exactly there.

Everything is placed in pixels of the panel, from its upper left corner; only the horizontal place of bars has a (log) scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from epochwise.explaining.explanation import Comparison
from epochwise.reporting.contents import FACTORS, JOINED, factor_rows, framework, times_as_long
from epochwise.reporting.figures import factor_text, interval_text, ratio_text, shortened
from epochwise.reporting.palette import light

TOTAL = "time of an epoch"
ORDER = ("parameters", "reuse", "arithmetic", "memory", "kernels", "waiting", TOTAL)
NARROW = 350
"""Up to this width panels stand under each other, with the label above each bar."""
LABELS, LEFT_ROOM, RIGHT_ROOM = 215, 54, 82
"""Pixels for the labels at the left, and for values beyond the ends of bars."""
ROW, NARROW_ROW, BAR = 46, 58, 22
TICK_ROOM, NAMED_TICK_ROOM = 36, 62
"""Pixels between the labels of the scale."""
THIN = 0.01
"""Of the scale: bars below that are drawn as a line."""


class Step(NamedTuple):
    """One bar: from the product so far to the product with it.

    ``kind`` is ``step``, ``subtotal`` or ``total``; the latter two begin at 1. ``low`` and ``high`` are the ends of a
    whisker: 0 or infinite where it has none on that side, ``None`` where there is no whisker.
    """

    name: str
    meaning: str
    kind: str
    start: float
    end: float
    value: str
    low: float | None = None
    high: float | None = None

    @property
    def colour(self) -> str:
        """By what the step does: more time, less time, or a sum."""
        if self.kind != "step":
            return light(self.kind)
        return light("more" if self.end >= self.start else "less")


def steps(comparison: Comparison) -> list[Step]:
    """The bars, from above."""
    rows = [row for row in factor_rows(comparison) if row.ratio is not None]
    found: list[Step] = []
    for place, row in enumerate(rows):
        low = high = None
        if row.low is not None or row.high is not None:
            low = row.before * (row.low or 0.0)
            high = math.inf if row.high is None else row.before * row.high
        meaning = FACTORS.get(row.name, "not told apart")
        found.append(Step(row.name, meaning, "step", row.before, row.after, factor_text(row.ratio), low, high))
        if row.name == "reuse" and place + 1 < len(rows):
            meaning = "what the counts alone would give"
            found.append(Step("arithmetic", meaning, "subtotal", 1.0, row.after, ratio_text(row.after)))
    ratio = comparison.ratio
    spread = f"measured; 95 %: {interval_text(ratio.low, ratio.high)}"
    return [*found, Step(TOTAL, spread, "total", 1.0, ratio.median, ratio_text(ratio.median), ratio.low, ratio.high)]


def chart(comparisons: Sequence[Comparison], width: int) -> Any:
    """An altair chart: a panel per comparison, side by side, or under each other where it is narrow."""
    import altair as alt

    every = [steps(comparison) for comparison in comparisons]
    values = [value for found in every for step in found for value in (step.start, step.end, step.low, step.high)]
    ends = [value for value in values if value and math.isfinite(value)]
    domain = (min(ends), max(ends))
    if domain[0] == domain[1]:
        domain = (0.5, 2.0)
    first = shortened(comparisons[0].models[0].name, 12)
    heads = [framework(comparison.backend) for comparison in comparisons] if len(comparisons) > 1 else [""]
    if width <= NARROW:
        panels = [
            _Panel(found, [found], domain, width, None, first).drawn(head) for found, head in zip(every, heads, strict=True)
        ]
        return alt.vconcat(*panels, spacing=18)
    each = (width - LABELS) / len(comparisons)
    panels = []
    for found, head in zip(every, heads, strict=True):
        labels = 0 if panels else LABELS
        panels.append(_Panel(found, every, domain, each + labels, labels, first).drawn(head))
    return alt.hconcat(*panels, spacing=0)


class _Panel:
    """One comparison's bars.

    Args:
        found: its steps.
        every: the steps of all panels that share the rows.
        domain: of the scale.
        width: in pixels, labels included.
        labels: pixels for the labels at the left, 0 for none; ``None`` for labels above the bars.
        first: the model that the scale is about.
    """

    def __init__(
        self,
        found: Sequence[Step],
        every: Sequence[Sequence[Step]],
        domain: tuple[float, float],
        width: float,
        labels: int | None,
        first: str,
    ) -> None:
        import altair

        self.alt = altair
        self.found, self.domain, self.width, self.left, self.first = found, domain, width, labels or 0, first
        self.above = labels is None
        self.rows = _rows(every)
        row = NARROW_ROW if self.above else ROW
        right = RIGHT_ROOM if len(every) == 1 else RIGHT_ROOM - 26
        self.alone = len(every) == 1
        self.room = width - self.left - LEFT_ROOM - right
        self.height = row * len(self.rows)
        self.middle = {step.name: row * place + row * (0.68 if self.above else 0.5) for place, step in enumerate(self.rows)}
        self.across = altair.Scale(type="log", domain=list(domain), range=[self.left + LEFT_ROOM, width - right], nice=False)
        self.down = altair.Scale(domain=[0, self.height], range=[0, self.height])

    def drawn(self, head: str) -> Any:
        """All layers, with a head above."""
        layers = [*self.grid(), self.line_above_total(), self.connectors(), *self.bars(), *self.whiskers(), *self.values()]
        if self.left or self.above:
            layers += self.labels(several=bool(head))
        panel = self.alt.layer(*layers).properties(width=self.width, height=self.height)
        if not head:
            return panel
        start = 0 if self.above else self.left + LEFT_ROOM
        return panel.properties(title=self.alt.TitleParams(head, anchor="start", frame="group", dx=start, fontSize=14))

    def base(self, rows: Iterable[dict[str, Any]], x: str = "", y: str = "at") -> Any:
        """A chart of rows with fields for the place: ``x`` on the log scale, ``y`` in pixels."""
        chart = self.alt.Chart(self.alt.InlineData(values=list(rows)))
        chart = chart.encode(y=self.alt.Y(f"{y}:Q", scale=self.down, axis=None))
        return chart.encode(x=self.x(x)) if x else chart

    def x(self, field: str) -> Any:
        """A horizontal place on the log scale."""
        return self.alt.X(f"{field}:Q", scale=self.across, axis=None)

    def grid(self) -> list[Any]:
        """Faint lines with what they stand for below; a strong one at 1, the first model."""
        ticks = _ticks(self.domain, self.room / TICK_ROOM)
        named = self.room / len(ticks) >= NAMED_TICK_ROOM
        found = [{"at": tick, "top": 0, "bottom": self.height, "label": self.tick(tick, named)} for tick in ticks]
        faint = self.base((row for row in found if row["at"] != 1), "at", "top").mark_rule(color=light("line"))
        strong = self.base((row for row in found if row["at"] == 1), "at", "top").mark_rule(color=light("soft"))
        text = self.base(found, "at", "bottom").mark_text(dy=14, fontSize=11, color=light("soft")).encode(text="label:N")
        return [faint.encode(y2="bottom:Q"), strong.encode(y2="bottom:Q"), text]

    def tick(self, ratio: float, named: bool) -> str:
        """A place on the scale, in words."""
        if ratio == 1 and named:
            return f"1 = {self.first}"
        return f"{ratio:,g}" if ratio >= 1 else f"1/{1 / ratio:,g}"

    def line_above_total(self) -> Any:
        """What stands below is their product."""
        row = self.height / len(self.rows)
        line = self.base([{"at": self.height - row}]).mark_rule(color=light("subtotal"))
        return line.encode(x=self.alt.value(0), x2=self.alt.value(self.width))

    def connectors(self) -> Any:
        """From the end of each bar down to the beginning of the next, or to the end of a sum."""
        ends = [
            {"x": one.end, "from": self.middle[one.name] + BAR / 2, "to": self.middle[two.name] - BAR / 2}
            for one, two in zip(self.found, self.found[1:], strict=False)
        ]
        return self.base(ends, "x", "from").mark_rule(color=light("soft"), strokeDash=[2, 2]).encode(y2="to:Q")

    def bars(self) -> list[Any]:
        """One for each step; a factor of about 1 has no width, so its end is drawn."""
        rows = [{**step._asdict(), "at": self.middle[step.name], "colour": step.colour} for step in self.found]
        colour = self.alt.Color("colour:N", scale=None)
        bar = self.base(rows, "start").mark_bar(height=BAR, cornerRadius=3)
        thin = THIN * math.log(self.domain[1] / self.domain[0])
        ends = [row for row, step in zip(rows, self.found, strict=True) if abs(math.log(step.end / step.start)) < thin]
        end = self.base(ends, "end").mark_tick(orient="vertical", height=BAR, thickness=2, opacity=1)
        return [bar.encode(x2="end:Q", color=colour), end.encode(color=colour)]

    def whiskers(self) -> list[Any]:
        """How far the end of a bar may be off; an end that is not known runs to the edge of the scale, without a tick."""
        rows: list[dict[str, Any]] = []
        ends: list[dict[str, Any]] = []
        for step in self.found:
            if step.low is None or step.high is None:
                continue
            at = self.middle[step.name]
            low, high = self.reach(step)
            rows.append({"low": low, "high": high, "at": at})
            ends += [{"end": end, "at": at} for end, known in ((low, step.low), (high, step.high)) if end == known]
        if not rows:
            return []
        rule = self.base(rows, "low").mark_rule(color=light("whisker"), strokeWidth=1.5).encode(x2="high:Q")
        tick = {"color": light("whisker"), "orient": "vertical", "height": BAR * 0.4, "thickness": 1.5, "opacity": 1}
        return [rule, self.base(ends, "end").mark_tick(**tick)]

    def reach(self, step: Step) -> tuple[float, float]:
        """Ends of a whisker within the scale; the end of the bar where there is none."""
        low, high = (step.end if bound is None else bound for bound in (step.low, step.high))
        return max(low, self.domain[0]), min(high, self.domain[1])

    def values(self) -> list[Any]:
        """The factor beyond the end of its bar, or of its whisker."""
        layers = []
        for right in (True, False):
            rows = [
                {
                    "edge": (max if right else min)(step.end, *self.reach(step)),
                    "at": self.middle[step.name],
                    "value": times_as_long(step.end)[0] if step.name == TOTAL and self.alone else step.value,
                }
                for step in self.found
                if (step.end >= step.start) == right
            ]
            options: dict[str, Any] = {
                "align": "left" if right else "right",
                "dx": 7 if right else -7,
                "fontSize": 13,
                "fontWeight": 600,
            }
            layers += _haloed(self.base(rows, "edge").encode(text="value:N"), **options)
        return layers

    def labels(self, several: bool) -> list[Any]:
        """Name and meaning of each row: at the left, or above its bar."""
        rows = [
            {
                "name": step.name.replace(JOINED, " × "),
                "meaning": "measured" if several and step.name == TOTAL and not self.above else step.meaning,
                "at": self.middle[step.name] - (BAR / 2 + 12 if self.above else 8),
            }
            for step in self.rows
        ]
        name = self.base(rows).encode(x=self.alt.value(0), text="name:N")
        meaning = self.base(rows).encode(x=self.alt.value(self.width if self.above else 0), text="meaning:N")
        options: dict[str, Any] = {"align": "right"} if self.above else {"align": "left", "dy": 16}
        return [
            *_haloed(name, align="left", fontSize=13, fontWeight=600),
            *_haloed(meaning, "soft", fontSize=11, **options),
        ]


def _rows(every: Sequence[Sequence[Step]]) -> list[Step]:
    """The rows of all panels in order; a joined factor comes after the ones that it joins."""
    found = {step.name: step for steps_of in every for step in steps_of}
    return sorted(found.values(), key=lambda step: ORDER.index(step.name.split(JOINED)[-1]) + 0.5 * (JOINED in step.name))


def _ticks(domain: tuple[float, float], most: float) -> list[float]:
    """Powers of two (or of 4, 16, ... where there would be too many) inside the domain, 1 among them."""
    low, high = (math.log2(value) for value in domain)
    every = 1
    while (high - low) / every > max(1.0, most - 1):
        every *= 2
    return [2.0 ** (every * number) for number in range(math.ceil(low / every), math.floor(high / every) + 1)]


def _haloed(base: Any, colour: str = "ink", **options: Any) -> list[Any]:
    """Text that stays readable where lines pass behind it."""
    ground = light("ground")
    return [
        base.mark_text(color=ground, stroke=ground, strokeWidth=5, strokeJoin="round", **options),
        base.mark_text(color=light(colour), **options),
    ]
