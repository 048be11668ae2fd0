"""Pictures of experiments as files: SVG that follows the reader's light or dark setting, and PNG on a white or dark ground."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from epochwise.errors import UsageError
from epochwise.experiments.record import Evidence, Experiment
from epochwise.files import check_output, write_bytes
from epochwise.reporting.evidence_charts import drawing, figures_of, looks
from epochwise.reporting.evidence_heat_maps import heat_maps
from epochwise.reporting.palette import PALETTE, light
from epochwise.reporting.pictures import PNG_SCALE, config, svg
from epochwise.reporting.specs import Spec, below, whole

WIDE, ALONE = 900, 560
LETTER = 6.4
"""Pixels of a letter of the sentence below the title."""
MOST_LINES = 3


class Picture(NamedTuple):
    """One picture: its name, such as ``evidence-p6-positions``, and its light drawing as SVG."""

    name: str
    light: str

    @property
    def svg(self) -> str:
        """With a style inside that repaints it where the reader prefers dark."""
        rules = "".join(f'[{paint}="{colour.light}"]{{{paint}:{colour.dark}}}' for colour, paint in _paints())
        style = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"
        return self.light.replace(">", f">{style}", 1)

    @property
    def dark(self) -> str:
        """In the colours for a dark ground, whatever the reader prefers."""
        text = self.light
        for colour, paint in _paints():
            text = text.replace(f'{paint}="{colour.light}"', f'{paint}="{colour.dark}"')
        return text

    def png(self, dark: bool = False) -> bytes:
        """As pixels, two for each."""
        import vl_convert

        found: bytes = vl_convert.svg_to_png(self.dark if dark else self.light, scale=PNG_SCALE)
        return found


def pictures(record: Evidence) -> Iterator[Picture]:
    """All pictures of a record, in its order: maps of positions, and charts that belong side by side together."""
    places = looks(record)
    for experiment in record.experiments:
        if experiment.maps:
            yield _picture(experiment, "positions", heat_maps(experiment.maps, WIDE), WIDE)
        for group in figures_of(experiment.charts):
            width = ALONE if len(group) == 1 else WIDE
            yield _picture(experiment, group[0].id, drawing(group, width, places), width)


def write_pictures(record: Evidence, folder: str | Path, force: bool = False, dark: bool = False) -> list[Path]:
    """Write every picture as ``.svg`` and ``.png``.

    Args:
        record: what is drawn.
        folder: an existing one.
        dark: whether there is to be a ``-dark.png`` too; the SVG needs none.
        force: whether files that are there may be replaced.

    Returns:
        The files.

    Raises:
        UsageError: no such folder, or a record without anything to draw.
        OutputExistsError: a file is there; then none was written.
    """
    if not Path(folder).is_dir():
        raise UsageError(f"There is no folder {folder}.", remedy=f"mkdir -p {folder}")
    drawn_all = list(pictures(record))
    if not drawn_all:
        raise UsageError("This record has neither charts nor maps.", cause="only experiments without any were run")
    contents: dict[Path, bytes] = {}
    for picture in drawn_all:
        path = Path(folder) / picture.name
        contents |= {path.with_suffix(".svg"): picture.svg.encode(), path.with_suffix(".png"): picture.png()}
        if dark:
            contents[path.with_name(f"{path.name}-dark.png")] = picture.png(dark=True)
    for path in contents:
        check_output(path, force)
    for path, content in contents.items():
        write_bytes(path, content, force)
    return list(contents)


def _picture(experiment: Experiment, part: str, drawing: Spec, width: int) -> Picture:
    """With the experiment's title and outcome above."""
    lines = textwrap.wrap(experiment.sentence, int(width / LETTER), max_lines=MOST_LINES, placeholder=" …")
    title = {"text": f"{experiment.id}: {experiment.title}", "subtitle": lines}
    # Around all, because a chart with a title of its own keeps that.
    titled = below([drawing], 0, title={"anchor": "start", "frame": "bounds", **title})
    made = svg(whole(titled, config(), background=light("ground"), padding=16))
    return Picture(f"evidence-{_slug(experiment.id)}-{_slug(part)}", made)


def _slug(text: str) -> str:
    """Small letters, figures and hyphens only."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "chart"


def _paints() -> Iterator[tuple[Any, str]]:
    for colour in PALETTE.values():
        yield colour, "fill"
        yield colour, "stroke"
