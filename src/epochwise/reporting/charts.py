"""Charts with axes for pages: how well the models do over time, and how steady the measurement was."""

from __future__ import annotations

from typing import Any

from epochwise.explaining.explanation import Comparison
from epochwise.reporting.contents import evaluated
from epochwise.reporting.factor_chart import NARROW
from epochwise.reporting.palette import light
from epochwise.reporting.pictures import configured, drawn

HEIGHT, GAP, AXIS = 210, 26, 62
SERIES = ("first", "second")


def learning_curves(comparison: Comparison, width: int) -> str:
    """Test accuracy (or what stands for it) by epoch and by seconds of training, as SVG; empty where nothing was tested."""
    import altair as alt

    ends = [evaluated(model) for model in comparison.models]
    if not any(ends):
        return ""
    name = next(end[-1][1] for end in ends if end)
    rows: list[dict[str, Any]] = [
        {"series": series, "epoch": end.epoch, "seconds": end.training_seconds, "figure": figure}
        for series, found in zip(SERIES, ends, strict=True)
        for end, _, figure in found
    ]
    narrow = width <= NARROW
    each = width - AXIS if narrow else (width - GAP) / 2 - AXIS
    y = alt.Y("figure:Q", title=f"test {name}", scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(tickCount=5))
    base = alt.Chart(alt.InlineData(values=rows)).encode(y=y, color=_colour(alt))
    base = base.mark_line(point={"filled": True, "size": 55, "opacity": 1}, strokeWidth=2.2)
    most = max(row["epoch"] for row in rows)
    epochs = alt.X("epoch:Q", title="epochs", scale=alt.Scale(domain=[0.5, most + 0.5]), axis=_whole(alt, most))
    seconds = alt.X(
        "seconds:Q", title="seconds of training", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5, grid=False)
    )
    charts = [base.encode(x=x).properties(width=each, height=HEIGHT) for x in (epochs, seconds)]
    joined = alt.vconcat(*charts, spacing=GAP) if narrow else alt.hconcat(*charts, spacing=GAP)
    return _finished(joined)


def block_times(comparison: Comparison, width: int) -> str:
    """Each undisturbed block against the median of its model, over the time of the measurement, as SVG."""
    import altair as alt

    rows: list[dict[str, Any]] = []
    for series, model in zip(SERIES, comparison.models, strict=True):
        seconds = sorted(block.step_seconds for block in model.measurement.blocks)
        if not seconds:
            continue
        median = (seconds[(len(seconds) - 1) // 2] + seconds[len(seconds) // 2]) / 2
        rows += [
            {"series": series, "at": block.started_at, "change": block.step_seconds / median - 1}
            for block in model.measurement.blocks
        ]
    if not rows:
        return ""
    most = max(0.01, *(abs(row["change"]) for row in rows))
    axis = alt.Axis(format="+.1~%", tickCount=5)
    y = alt.Y("change:Q", title="against the median", scale=alt.Scale(domain=[-most, most], padding=8), axis=axis)
    x = alt.X("at:Q", title="seconds since measuring began", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5, grid=False))
    points = alt.Chart(alt.InlineData(values=rows)).mark_point(filled=True, size=55, opacity=0.9)
    chart = points.encode(x=x, y=y, color=_colour(alt)).properties(width=width - AXIS, height=HEIGHT * 0.8)
    return _finished(chart)


def _colour(alt: Any) -> Any:
    """One colour per model, wherever it is drawn; the page has the legend."""
    return alt.Color("series:N", scale=alt.Scale(domain=list(SERIES), range=[light(series) for series in SERIES]), legend=None)


def _whole(alt: Any, most: int) -> Any:
    """An axis that has no half epochs."""
    every = -(-most // 8)
    return alt.Axis(values=list(range(every if every > 1 else 1, most + 1, every)), format="d", grid=False)


def _finished(chart: Any) -> str:
    return drawn(configured(chart.properties(background="transparent", padding=4)))
