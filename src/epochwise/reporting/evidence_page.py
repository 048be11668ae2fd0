"""What the page of a record of experiments shows, prepared for its template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from epochwise.experiments.record import Chart, Evidence, Experiment, PositionMap, Table
from epochwise.reporting.evidence import agreement_text, figure_texts, setting, title, trusted
from epochwise.reporting.evidence_charts import drawing, figures_of, looks
from epochwise.reporting.evidence_heat_maps import heat_maps
from epochwise.reporting.evidence_help import HELP, MAP_HELP, WORDS, Help, chart_help
from epochwise.reporting.pictures import config, svg
from epochwise.reporting.specs import Spec, whole

WIDE, HALF = 950, 465
LONGEST_FIGURE = 28
"""Letters of a cell that still is a figure, with its unit or interval."""

Both = Callable[[Callable[[int], str], int], Any]
"""Draws a picture for wide pages and for phones."""


class Picture(NamedTuple):
    """One figure of the page: its drawing for wide pages and for phones, what it shows, and how it is read."""

    both: Any
    label: str
    help: str
    wide: bool


def contents(record: Evidence, both: Both) -> dict[str, Any]:
    """All that the page shows, by name in the template.

    Args:
        record: what is shown.
        both: makes a picture in two widths of a function of the width.
    """
    places = looks(record)
    known = {experiment.id for experiment in record.experiments}
    return {
        "record": record,
        "title": title(record),
        "setting": setting(record),
        "trusted": trusted(record),
        "verdicts": [(answer, [(found, _anchor(found, known)) for found in answer.experiments]) for answer in record.verdicts],
        "words": WORDS,
        "agreement": None if record.agreement is None else agreement_text(record.agreement),
        "experiments": [_experiment(experiment, places, both) for experiment in record.experiments],
    }


def svg_of(picture: Spec) -> str:
    """A picture as an SVG element for a page; its figure's own label says what it shows, not each mark."""
    return svg(whole(picture, config(), background="transparent", padding=4))


def _anchor(finding: str, known: set[str]) -> str | None:
    """The experiment that a finding is part of, where it is on the page."""
    experiment = finding.partition(".")[0]
    return experiment if experiment in known else None


def _experiment(experiment: Experiment, places: dict[str, int], both: Both) -> dict[str, Any]:
    """One section of the page."""
    help_text = HELP.get(experiment.id, Help(""))
    return {
        "record": experiment,
        "help": help_text,
        "findings": [(found, *figure_texts(found)) for found in (experiment, *experiment.further)],
        "pictures": _pictures(experiment, places, both),
        "tables": [(table, _right(table)) for table in experiment.tables],
        "failed": [check for check in experiment.checks if not check.passed],
    }


def _pictures(experiment: Experiment, places: dict[str, int], both: Both) -> list[Picture]:
    """Maps first, then charts; those that stand alone take half of the width where another stands alone beside them."""
    found = [_maps(experiment.maps, both)] if experiment.maps else []
    groups = figures_of(experiment.charts)
    for place, group in enumerate(groups):
        alone = len(group) == 1
        beside = groups[place - 1 : place] + groups[place + 1 : place + 2]
        half = alone and any(len(other) == 1 for other in beside)
        found.append(_charts(group, places, both, HALF if half else WIDE))
    return found


def _maps(maps: Sequence[PositionMap], both: Both) -> Picture:
    label = "Accuracy by position of the object: " + ", ".join(dict.fromkeys(found.arm for found in maps))
    return Picture(both(lambda width: svg_of(heat_maps(maps, width)), WIDE), label, MAP_HELP, True)


def _charts(group: tuple[Chart, ...], places: dict[str, int], both: Both, width: int) -> Picture:
    label = "; ".join(chart.title for chart in group)
    texts = " ".join(dict.fromkeys(filter(None, (chart_help(chart) for chart in group))))
    return Picture(both(lambda width: svg_of(drawing(group, width, places)), width), label, texts, width == WIDE)


def _right(table: Table) -> list[bool]:
    """Which columns stand at the right: all that hold figures or short texts, but not the names in the first."""
    longest = [max((len(row[place]) for row in table.rows), default=0) for place in range(len(table.columns))]
    return [place > 0 and length <= LONGEST_FIGURE for place, length in enumerate(longest)]
