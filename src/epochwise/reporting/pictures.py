"""The picture of the answer as SVG and PNG files, and as a part of pages; drawn by :mod:`epochwise.reporting.factor_chart`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epochwise.errors import UsageError
from epochwise.explaining.explanation import Comparison, Demo
from epochwise.files import check_output, write_bytes
from epochwise.reporting.contents import framework, times_as_long
from epochwise.reporting.factor_chart import chart as factor_chart
from epochwise.reporting.figures import shortened
from epochwise.reporting.palette import FONT, light
from epochwise.reporting.records import AnyRecord

WIDE, MORE_FOR_A_PANEL = 760, 170
"""Pixels of a picture with one panel, and what each further one adds."""
PNG_SCALE = 2.0


def picture(record: AnyRecord) -> bytes:
    """The picture of the factors as SVG on a white ground.

    Args:
        record: a comparison; or a demo, with a panel for each backend.

    Raises:
        UsageError: the record has no factors.
    """
    return drawn(_titled(record)).encode()


def save_picture(record: AnyRecord, path: str | Path, force: bool = False) -> None:
    """Write the picture of the factors to a ``.svg`` or ``.png`` file.

    Raises:
        UsageError: another ending, a record without factors, or a place that cannot be written to.
        OutputExistsError: the file exists and ``force`` is false.
    """
    check_picture(path, force)
    chart = _titled(record)
    if Path(path).suffix.lower() == ".svg":
        write_bytes(path, drawn(chart).encode(), force)
    else:
        buffer = io.BytesIO()
        chart.save(buffer, format="png", scale_factor=PNG_SCALE)
        write_bytes(path, buffer.getvalue(), force)


def check_picture(path: str | Path, force: bool = False) -> None:
    """Look, before any work is done, whether a picture can be written there.

    Raises:
        UsageError, OutputExistsError: see :func:`save_picture`.
    """
    if Path(path).suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"{path} does not name a picture: it ends in neither .svg nor .png.", remedy="--picture answer.svg")
    check_output(path, force)


def inline(comparisons: Sequence[Comparison], width: int) -> str:
    """The picture as an SVG element for a page, without title and ground, of about this width."""
    return drawn(configured(factor_chart(comparisons, width).properties(background="transparent", padding=2)))


def _titled(record: AnyRecord) -> Any:
    """The chart with its title on a white ground."""
    if isinstance(record, Comparison):
        comparisons: Sequence[Comparison] = (record,)
    elif isinstance(record, Demo) and record.comparisons:
        comparisons = record.comparisons
    else:
        raise UsageError(
            "This result has no factors to draw: only a comparison or a demo has.",
            remedy="epochwise compare MODEL MODEL --json result.json",
        )
    first, second = (shortened(model.name, 24) for model in comparisons[0].models)
    if len(comparisons) == 1:
        ratio, goes_on = times_as_long(comparisons[0].ratio.median)
        title = f"Why an epoch of {second} takes {ratio} {goes_on} {'as' if goes_on == 'as long' else 'of'} one of {first}"
    else:
        title = f"Why an epoch of {second} takes so many times as long as one of {first}"
    where = f"{framework(comparisons[0].backend)}, {comparisons[0].machine.name}. " if len(comparisons) == 1 else ""
    text = {"text": title, "subtitle": f"{where}Each bar multiplies what stands above it; the scale is logarithmic."}
    chart = factor_chart(comparisons, WIDE + MORE_FOR_A_PANEL * (len(comparisons) - 1))
    return configured(chart.properties(title=text, background=light("ground"), padding=16))


def configured(chart: Any) -> Any:
    """The chart in the project's type and colours. Set in one go: each ``configure_...`` of Altair would copy all of it."""
    made = chart.copy(deep=False)
    made.config = config()
    return made


def config() -> dict[str, Any]:
    """The project's type and colours, as Vega-Lite has them."""
    title = {"anchor": "start", "font": FONT, "color": light("ink"), "subtitleColor": light("soft"), "subtitleFont": FONT}
    return {
        "font": FONT,
        "view": {"stroke": None},
        "title": {"fontSize": 17, "fontWeight": 600, "subtitleFontSize": 12, "offset": 14, "subtitlePadding": 6, **title},
        "text": {"font": FONT},
        "axis": {
            "labelColor": light("soft"),
            "titleColor": light("soft"),
            "titleFontWeight": "normal",
            "gridColor": light("line"),
            "domainColor": light("subtotal"),
            "tickColor": light("subtotal"),
        },
        "legend": {"labelColor": light("ink"), "titleColor": light("soft")},
    }


def drawn(chart: Any) -> str:
    """The chart as SVG."""
    buffer = io.StringIO()
    chart.save(buffer, format="svg")
    return buffer.getvalue()


def svg(spec: dict[str, Any]) -> str:
    """Plain Vega-Lite, of the version that Altair writes, as SVG."""
    import altair
    import vl_convert

    found: str = vl_convert.vegalite_to_svg(spec, vl_version=".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2]))
    return found
