"""Pictures put together from parts, as plain Vega-Lite.

Altair writes the parts: marks and what they encode. It copies and checks a part with all its data again whenever that is put
into a larger one, which took most of the time of a page of experiments. So what is put together here is what Altair wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
"""Vega-Lite, as JSON has it."""


def layer(chart: Any, rows: Sequence[Mapping[str, object]]) -> Spec:
    """An Altair chart without data, with its data."""
    written: Spec = chart.to_dict(context={"top_level": False})
    return written | {"data": {"values": list(rows)}}


def layered(layers: Sequence[Spec], **properties: Any) -> Spec:
    """Layers over each other, the first one lowest, with width, height and title."""
    return {"layer": list(layers), **_written(properties)}


def beside(parts: Sequence[Spec], spacing: float, **properties: Any) -> Spec:
    """Parts from left to right."""
    return {"hconcat": list(parts), "spacing": spacing, **properties}


def below(parts: Sequence[Spec], spacing: float, **properties: Any) -> Spec:
    """Parts from above, with a title perhaps."""
    return {"vconcat": list(parts), "spacing": spacing, **_written(properties)}


def whole(spec: Spec, config: Mapping[str, Any], **properties: Any) -> Spec:
    """A picture that nothing more is put around: with its type and colours, and without a text for each mark."""
    return {**spec, **_written(properties), "config": {**config, "aria": False}}


def _written(properties: Mapping[str, Any]) -> Spec:
    """Altair's objects, such as titles, as JSON."""
    return {name: value.to_dict() if hasattr(value, "to_dict") else value for name, value in properties.items()}
