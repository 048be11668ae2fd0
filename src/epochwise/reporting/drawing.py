"""Any record -> what the terminal shows of it; the counterpart of :func:`epochwise.reporting.html.page`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from epochwise.reporting.records import AnyRecord

_DRAWN_BY = {
    "count": ("counts", "render"),
    "counts": ("side_by_side", "render"),
    "fit": ("fit", "render"),
    "machine": ("machine", "view"),
    "explain": ("explanation", "render"),
    "compare": ("comparison", "render"),
    "demo": ("demo", "render"),
    "evidence": ("evidence", "render"),
}
"""Module of this folder and its function, by the middle of the schema: ``epochwise/count/1``."""


def drawn(record: AnyRecord) -> RenderableType:
    """The whole record, for 80 columns and more."""
    module, function = _DRAWN_BY[record.schema.split("/")[1]]
    shown: RenderableType = getattr(import_module(f"epochwise.reporting.{module}"), function)(record)
    return shown
