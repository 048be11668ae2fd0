"""Draws any record as one page that opens offline: styles and pictures are inside, and nothing is loaded from anywhere.

Every text of a record is escaped by the templates; only pictures, whose text the drawing library escapes, go in as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epochwise.counting.counts import Counts
from epochwise.counting.side_by_side import SideBySide
from epochwise.engine.result import Fit
from epochwise.experiments.kept import kept
from epochwise.experiments.record import Evidence
from epochwise.explaining.explanation import Comparison, Demo, Explanation
from epochwise.explaining.reuse import reuse_sentence, sample_word
from epochwise.machines.machine import Machine
from epochwise.reporting import contents, evidence, figures, fit, palette, side_by_side
from epochwise.reporting.counts import MEMORY, largest_batch_text, macs_per_parameter, not_counted
from epochwise.reporting.demo import QUESTIONS, factor_cell, factor_names
from epochwise.reporting.factor_chart import NARROW
from epochwise.reporting.layers import COLUMNS, USUAL, View, added, lines
from epochwise.reporting.machine import level
from epochwise.reporting.records import AnyRecord
from epochwise.reporting.view import cause_segment, differences, explained, sections

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 950
HEAD_LETTERS = 26
FRAME_HEIGHT = 640
PAGE_COLUMNS = (*USUAL, "other-flops", "bytes")
"""Of the table of layers: a page has room for more than a terminal."""
_REUSE = {
    "forward MACs per parameter": "how often a weight is used, over all of them",
    "training MACs per parameter": "the same with both gradients",
}


def page(record: AnyRecord) -> str:
    """The record as an HTML document.

    Args:
        record: counts of one model or of several, a machine, an explanation, a comparison, a demo, a training run, or
            experiments.
    """
    if isinstance(record, Comparison):
        return _filled("comparison.html", title=contents.headline(record), item=_comparison(record))
    if isinstance(record, Explanation):
        title = f"{record.model.name}: where an epoch goes"
        return _filled("explanation.html", title=title, item=_explanation(record))
    if isinstance(record, Demo):
        return _demo(record)
    if isinstance(record, Fit):
        return _fit(record)
    if isinstance(record, Evidence):
        from epochwise.reporting.evidence_page import contents as evidence_contents

        return _filled("evidence.html", **evidence_contents(record, _both))
    if isinstance(record, SideBySide):
        return _side_by_side(record)
    if isinstance(record, Counts):
        return _filled("counts.html", title=f"{record.name}: what a training step costs", counts=_counts(record))
    return _filled("machine.html", title=f"What this computer can do: {record.name}", machine=_machine(record))


def notebook(record: AnyRecord) -> str:
    """The page in a frame of its own, so that neither its styles nor the notebook's reach the other."""
    return (
        f'<iframe srcdoc="{escape(page(record))}" sandbox style="width:100%;height:{FRAME_HEIGHT}px;border:0"'
        f' title="epochwise"></iframe>'
    )


def _demo(demo: Demo) -> str:
    items = demo.comparisons
    names = [model.name for model in items[0].models] if items else ["", ""]
    return _filled(
        "demo.html",
        title=f"Why an epoch of {names[1]} takes so many times as long as one of {names[0]}"
        if items
        else "Nothing was measured",
        demo=demo,
        names=names,
        items=[_comparison(item, with_picture=False) for item in items],
        picture=_both(lambda width: _inline(items, width), 1000) if items else None,
        questions=[(question, getattr(demo.answer, name)) for question, name in QUESTIONS],
        factors=[(name, [factor_cell(item, name) for item in items]) for name in (factor_names(demo) if items else [])],
        left_out=[(contents.framework(name), reason) for name, reason in demo.left_out.items()],
        kept=_kept(),
    )


def _kept() -> dict[str, Any] | None:
    """The verdicts that ship with the package, where there are any."""
    found = kept()
    if found is None:
        return None
    verdicts = [(answer, [(name, None) for name in answer.experiments]) for answer in found.record.verdicts]
    return {"source": evidence.source_text(found), "verdicts": verdicts, "how": evidence.HOW_TO_RUN}


def _comparison(comparison: Comparison, with_picture: bool = True) -> dict[str, Any]:
    """All that a comparison's part of a page shows."""
    from epochwise.reporting.charts import block_times, learning_curves

    first, second = comparison.models
    return {
        "record": comparison,
        "models": comparison.models,
        "names": [first.name, second.name],
        "over": f"{second.name} / {first.name}" if len(first.name + second.name) < HEAD_LETTERS else "second / first",
        "backend": contents.framework(comparison.backend),
        "ratio": comparison.ratio,
        "takes": contents.times_as_long(comparison.ratio.median),
        "certain": not comparison.ratio.low <= 1.0 <= comparison.ratio.high,
        "setting": contents.setting(comparison),
        "facts": contents.facts(comparison),
        "factors": contents.factor_rows(comparison),
        "explained": [
            explained(model, unit) for model, unit in zip(comparison.models, contents.units_of(comparison), strict=True)
        ],
        "causes": sections(comparison),
        "differences": differences(comparison),
        "profiler": [contents.profiler(model) for model in comparison.models],
        "picture": _both(lambda width: _inline([comparison], width), 940) if with_picture else None,
        "curves": _both(lambda width: learning_curves(comparison, width)),
        "blocks": _both(lambda width: block_times(comparison, width)),
        "counts": [_counts(model.counts) for model in comparison.models],
        "machine": _machine(comparison.machine),
    }


def _explanation(explanation: Explanation) -> dict[str, Any]:
    """All that the page of one model shows."""
    model = explanation.model
    epoch = model.epoch_seconds.median
    unit = figures.unit_for(epoch)
    longest = sum(max(0.0, cause.seconds) for cause in model.causes)
    return {
        "record": explanation,
        "models": (model,),
        "unit": unit,
        "setting": contents.setting(explanation),
        "times": contents.epoch_times(model),
        "explained": [explained(model, unit)],
        "causes": [
            (
                cause_segment(cause.name, cause.seconds, epoch, longest, unit),
                unit.text(cause.seconds),
                cause,
                cause.seconds / epoch,
                contents.told(cause),
            )
            for cause in model.causes
        ],
        "what_ifs": [
            (
                item,
                unit.named(item.epoch_seconds.median),
                figures.interval_text(item.epoch_seconds.low, item.epoch_seconds.high, unit),
            )
            for item in explanation.what_ifs
        ],
        "profiler": [contents.profiler(model)],
        "blocks": None,
        "counts": [_counts(model.counts)],
        "machine": _machine(explanation.machine),
    }


def _fit(record: Fit) -> str:
    heads, *rows = fit.epoch_rows(record)
    told = {"setting": fit.setting(record), "outcome": fit.outcome(record)}
    return _filled("fit.html", title=f"{record.name}, trained", record=record, heads=heads, rows=rows, **told)


def _side_by_side(record: SideBySide) -> str:
    names = [counts.name for counts in record.models]
    return _filled(
        "side_by_side.html",
        title=f"{', '.join(names)}: what a training step costs",
        names=names,
        setting=side_by_side.setting(record),
        rows=side_by_side.total_rows(record),
        legend=side_by_side.LEGEND,
        models=[_counts(counts) for counts in record.models],
    )


def _counts(counts: Counts) -> dict[str, Any]:
    columns = [COLUMNS[key] for key in PAGE_COLUMNS]
    shown, reuse = lines(counts, View()), macs_per_parameter(counts)
    return {
        "record": counts,
        "backend": contents.framework(counts.backend),
        "sample": sample_word(counts),
        "reuse": [] if reuse is None else list(zip(_REUSE, map(figures.digits, reuse), _REUSE.values(), strict=True)),
        "sentence": reuse_sentence(counts),
        "columns": columns,
        "rows": [(line, [line.figure(column, counts.batch_size) for column in columns]) for line in shown],
        "sums": [added(counts.layers, column, counts.batch_size) for column in columns],
        "memory": [(name, getattr(counts.memory_bytes, name), meaning) for name, meaning in MEMORY.items()],
        "not_counted": not_counted(counts) if counts.uncounted else None,
        "largest_batch": None if counts.largest_batch is None else largest_batch_text(counts.largest_batch),
    }


def _machine(machine: Machine) -> dict[str, Any]:
    most = max((point.bytes_per_second for point in machine.bandwidth), default=1.0)
    return {
        "record": machine,
        "points": [
            (point, level(machine, point.working_set_bytes), point.bytes_per_second / most) for point in machine.bandwidth
        ],
    }


def _inline(comparisons: Sequence[Comparison], width: int) -> str:
    from epochwise.reporting.pictures import inline

    return inline(comparisons, width)


def _both(draw: Callable[[int], str], width: int = WIDTH) -> tuple[Markup, Markup] | None:
    """A picture for wide pages and one for phones; the style sheet shows one of them. ``None`` where there is none."""
    from markupsafe import Markup

    wide = draw(width)
    return (Markup(wide), Markup(draw(NARROW))) if wide else None


def _filled(template: str, **values: Any) -> str:
    from markupsafe import Markup

    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8") + palette.repaint())
    return _environment().get_template(template).render(style=style, made_by=_made_by(), **values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from epochwise.explaining.wording import bytes_text

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "bytes": bytes_text,
        "count": figures.exact_text,
        "compact": figures.count_text,
        "short": lambda name: figures.shortened(name, HEAD_LETTERS),
        "factor": figures.factor_text,
        "ratio": figures.ratio_text,
        "share": figures.share_text,
        "shape": lambda shape: figures.shape_text(shape).replace("x", " × "),
        "interval": lambda found: figures.interval_text(found.low, found.high),
    }
    environment.globals |= {"factor_help": contents.FACTOR_HELP, "signs": evidence.SIGNS}
    return environment


def _made_by() -> str:
    try:
        return f"epochwise {version('epochwise')}"
    except PackageNotFoundError:  # used from its folder, not installed
        return "epochwise"
