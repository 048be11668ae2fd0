"""Draws a :class:`~epochwise.explaining.explanation.Demo` for the terminal: a table over backends, then the answers."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from epochwise.explaining.explanation import Comparison, Demo
from epochwise.reporting.comparison import names
from epochwise.reporting.contents import JOINED, Fact, facts, framework, setting
from epochwise.reporting.figures import NOTHING, UNKNOWN, factor_text, interval_text, ratio_text
from epochwise.reporting.terminal import blocks, heading, notes, pairs, plain_table

NAME_COLUMNS = 10
FACTOR_ORDER = ("parameters", "reuse", "memory", "kernels", "waiting")
SAME_EVERYWHERE = ("parameters", "training MACs per sample", "activations per sample")
QUESTIONS = (
    ("Why is it slower?", "why_slower"),
    ("If not speed, what is the benefit?", "benefit"),
    ("What are parameter counts good for?", "parameters"),
)


def render(demo: Demo) -> RenderableType:
    """The whole demo, for 80 columns and more."""
    left_out = [f"{framework(backend)}: {reason}" for backend, reason in demo.left_out.items()]
    if not demo.comparisons:
        return blocks(heading("No backend could be measured"), notes(left_out, "Left out"))
    first, second = demo.comparisons[0].models
    return blocks(
        Group(
            heading(f"{second.name} against {first.name}: why an epoch takes so many times as long"),
            pairs(row for row in setting(demo.comparisons[0]) if row[0] in ("data", "batch", "machine")),
        ),
        _models(demo.comparisons[0]),
        _backends(demo),
        *(Group(heading(framework(item.backend)), Text(item.answer)) for item in demo.comparisons),
        *(Group(heading(question), Text(getattr(demo.answer, name))) for question, name in QUESTIONS),
        notes(left_out, "Left out"),
        notes(dict.fromkeys(note for item in demo.comparisons for note in item.notes)),
    )


def _models(comparison: Comparison) -> RenderableType:
    """What is the same on every backend."""
    table = plain_table()
    table.add_column("")
    for name in (*names(comparison), "second / first"):
        table.add_column(Text(name), justify="right")
    for row in facts(comparison):
        if row.label in SAME_EVERYWHERE:
            table.add_row(row.label, *row.values, row.ratio)
    return table


def _backends(demo: Demo) -> RenderableType:
    """A column per backend: epochs, ratio, its factors, accuracy."""
    items = demo.comparisons
    table = plain_table()
    table.add_column("", no_wrap=True)
    for item in items:
        table.add_column(Text(framework(item.backend)), justify="right")
    for place, name in enumerate(names(items[0], NAME_COLUMNS)):
        epochs = [_fact(item, "epoch").values[place] for item in items]
        table.add_row(Text(f"epoch of {name}"), *epochs)
        spreads = [_fact(item, "  95 % interval").values[place] for item in items]
        table.add_row("  95 % interval", *spreads, style="dim")
    table.add_row(Text("the ratio", "bold"), *(Text(ratio_text(item.ratio.median), "bold") for item in items))
    table.add_row("  95 % interval", *(interval_text(item.ratio.low, item.ratio.high) for item in items), style="dim")
    for name in factor_names(demo):
        table.add_row("  " + name.replace(JOINED, f"{JOINED}\n  "), *(factor_cell(item, name) for item in items))
    for place, name in enumerate(names(items[0], NAME_COLUMNS)):
        table.add_row(Text(f"test accuracy, {name}"), *(_tested(item, place) for item in items))
        table.add_row("  after", *(_after(item, place) for item in items), style="dim")
    return Group(heading("On each backend", "the ratio is the product of the factors below it"), table)


def factor_names(demo: Demo) -> list[str]:
    """All factors of all backends: the five, then those that were joined somewhere."""
    found = [factor.name for item in demo.comparisons for factor in item.factors]
    joined = [name for name in found if JOINED in name]
    return [*FACTOR_ORDER, *dict.fromkeys(joined)]


def factor_cell(comparison: Comparison, name: str) -> str:
    """A factor on one backend: its value, ``unknown``, or a dash where it was told apart."""
    found = {factor.name: factor.ratio for factor in comparison.factors}
    if name not in found:
        return NOTHING if JOINED in name else UNKNOWN
    return factor_text(found[name])


def _fact(comparison: Comparison, label: str) -> Fact:
    return next(row for row in facts(comparison) if row.label == label)


def _tested(comparison: Comparison, place: int) -> str:
    """The test figure of a model, after equally many epochs of both where they were trained for different lengths."""
    same = _after_same(comparison)
    return (same or next(row for row in facts(comparison) if row.label.startswith("test "))).values[place]


def _after(comparison: Comparison, place: int) -> str:
    """After how many epochs that was."""
    same = _after_same(comparison)
    if same is not None:
        return same.label.removeprefix("  after ").removesuffix(" each")
    return next((row.values[place] for row in facts(comparison) if row.label == "  after"), NOTHING)


def _after_same(comparison: Comparison) -> Fact | None:
    return next((row for row in facts(comparison) if row.label.endswith(" each")), None)
