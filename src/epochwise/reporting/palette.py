"""The colours of pictures and pages, on a light and on a dark ground.

Pictures are drawn once, in the light colours. A page is repainted by its style sheet: whatever has a light colour gets the
variable of that name, which has another value where the reader prefers dark.
"""

from __future__ import annotations

from typing import NamedTuple


class Colour(NamedTuple):
    """One colour of the palette."""

    light: str
    dark: str


PALETTE = {
    "ground": Colour("#ffffff", "#14181f"),
    "card": Colour("#f6f7f9", "#1c222b"),
    "ink": Colour("#1b2430", "#e8ecf1"),
    "soft": Colour("#5d6878", "#a2adbb"),
    "line": Colour("#dfe3e8", "#313a46"),
    "faint": Colour("#eef0f3", "#252c37"),
    "more": Colour("#d9603b", "#f08563"),
    "less": Colour("#1f8a8c", "#4dbfbf"),
    "total": Colour("#27364a", "#dbe3ee"),
    "subtotal": Colour("#a9b4c2", "#6d7a8b"),
    "first": Colour("#3f6fb5", "#7aa7e6"),
    "second": Colour("#c9861a", "#efb04f"),
    "whisker": Colour("#1b2431", "#ffffff"),
    "third": Colour("#7b0e51", "#ca5f97"),
    "fourth": Colour("#3b3516", "#e6e2d9"),
    "fifth": Colour("#928966", "#8d8461"),
    "sixth": Colour("#1e2886", "#8175e1"),
    "seventh": Colour("#825b2c", "#d1b496"),
    "eighth": Colour("#7989ab", "#b6c7eb"),
}

SERIES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
"""For lines and points of several arms: told apart by readers of every kind of colour vision, on both grounds."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def light(name: str) -> str:
    """The colour on a light ground."""
    return PALETTE[name].light


def repaint() -> str:
    """The style sheet that gives pictures the colours of the page."""
    rules = [f":root{{{_variables(0)}}}", f"@media (prefers-color-scheme:dark){{:root{{{_variables(1)}}}}}"]
    rules += [
        f'.picture svg [{paint}="{colour.light}"]{{{paint}:var(--{name})}}'
        for name, colour in PALETTE.items()
        for paint in ("fill", "stroke")
    ]
    return "\n".join(rules)


def _variables(place: int) -> str:
    return "".join(f"--{name}:{colour[place]};" for name, colour in PALETTE.items())
