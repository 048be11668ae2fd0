"""Maps of accuracy by position as pictures: side by side, with one scale of colours, the place of training framed.

The colours (viridis) rise evenly in lightness, so that they are read alike with every kind of colour vision, in grey, and on a
light or dark ground; a page does not repaint them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from epochwise.experiments.record import PositionMap
from epochwise.reporting.evidence_maps import best, mean, place_text, rows_of
from epochwise.reporting.factor_chart import NARROW
from epochwise.reporting.palette import light
from epochwise.reporting.specs import Spec, below, beside, layer, layered

SCHEME = "viridis"
LARGEST, GAP, AXIS = 210, 22, 44
MOST_BESIDE, MOST_NARROW = 5, 2
SCALE_STEPS, SCALE_WIDTH, SCALE_HEIGHT = 48, 240, 12
LETTER = 8.0
"""Pixels of a letter of a title."""
SCALE_LABEL = "share that is right, everywhere on one scale"


def heat_maps(maps: Sequence[PositionMap], width: int) -> Spec:
    """A picture of all maps: a row for each place of training.

    Args:
        maps: of one experiment.
        width: pixels of all together.
    """
    import altair as alt

    narrow = width <= NARROW
    most = MOST_NARROW if narrow else MOST_BESIDE
    rows = [row[start : start + most] for row in rows_of(maps) for start in range(0, len(row), most)]
    widest = most if narrow else max(len(row) for row in rows)
    size = min(LARGEST, (width - AXIS - (widest - 1) * GAP) / widest)
    highest = math.ceil(20 * best(maps)) / 20
    drawn = [_row(alt, row, size, highest) for row in rows]
    return below([_scale(alt, highest), *drawn], 14)


def _row(alt: Any, maps: Sequence[PositionMap], size: float, highest: float) -> Spec:
    return beside([_map(alt, found, size, highest, not place) for place, found in enumerate(maps)], GAP, bounds="flush")


def _map(alt: Any, found: PositionMap, size: float, highest: float, first: bool) -> Spec:
    """One map: a cell for each position, of whole pixels, so that no seams show; the place of training framed."""
    size = max(1, int(size / len(found.offsets))) * len(found.offsets)
    cells = [
        {"down": down, "right": right, "share": share}
        for down, row in zip(found.offsets, found.accuracy, strict=True)
        for right, share in zip(found.offsets, row, strict=True)
    ]
    ticks = [found.offsets[0], found.offsets[len(found.offsets) // 2], found.offsets[-1]]
    shown = {"values": sorted(set(ticks)), "labelAngle": 0, "domain": False, "ticks": False, "grid": False}
    band = alt.Scale(domain=list(found.offsets), paddingInner=0, paddingOuter=0)
    x = alt.X("right:O", scale=band, title="pixels to the right" if first else None, axis=alt.Axis(**shown))
    y = alt.Y("down:O", scale=band, title="pixels down" if first else None, axis=alt.Axis(**shown) if first else None)
    base = alt.Chart().encode(x=x, y=y)
    colour = alt.Color("share:Q", scale=alt.Scale(scheme=SCHEME, domain=[0, highest]), legend=None)
    layers = [layer(base.mark_rect().encode(color=colour), cells)]
    if found.trained_at is not None:
        # A dark frame in a light one shows on every colour; neither is of the palette, so no page repaints them.
        trained = [{"down": found.trained_at[0], "right": found.trained_at[1]}]
        layers += [
            layer(base.mark_rect(filled=False, stroke=stroke, strokeWidth=pixels), trained)
            for stroke, pixels in (("#fefefe", 4.5), ("#d1004b", 2))
        ]
    most = int(size / LETTER)
    title = alt.TitleParams(
        _wrapped(found.arm, most),
        subtitle=[f"trained {place_text(found)}", f"mean {mean(found):.2f}"],
        anchor="start",
        fontSize=13,
        offset=6,
    )
    return layered(layers, width=size, height=size, title=title)


def _wrapped(text: str, most: int) -> list[str]:
    """A title in two lines at most."""
    import textwrap

    return textwrap.wrap(text, max(8, most), max_lines=2, placeholder="…") or [""]


def _scale(alt: Any, highest: float) -> Spec:
    """What the colours mean."""
    each = highest / SCALE_STEPS
    steps = [{"from": place * each, "to": (place + 1) * each, "share": (place + 0.5) * each} for place in range(SCALE_STEPS)]
    every = 0.1 if highest <= 0.5 else 0.2  # noqa: PLR2004
    values = [round(place * every, 2) for place in range(int(highest / every + 1e-9) + 1)]
    axis = alt.Axis(values=values, format=".0%", grid=False, domain=False, titleAnchor="start", titleColor=light("soft"))
    x = alt.X("from:Q", scale=alt.Scale(domain=[0, highest], nice=False), axis=axis, title=SCALE_LABEL)
    colour = alt.Color("share:Q", scale=alt.Scale(scheme=SCHEME, domain=[0, highest]), legend=None)
    bar = alt.Chart().mark_rect().encode(x=x, x2="to:Q", color=colour)
    return layer(bar.properties(width=SCALE_WIDTH, height=SCALE_HEIGHT), steps)
