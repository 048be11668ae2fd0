"""Draws an :class:`~epochwise.explaining.explanation.Explanation` for the terminal.

In this order: what was measured; the times; where the epoch goes, part by part, against this machine's best; the causes in
seconds; what the epoch could be; what the profiler cost; the answer in sentences; notes.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from epochwise.explaining.explanation import Explanation, ModelExplanation
from epochwise.reporting.comparison import evidence_of, label
from epochwise.reporting.contents import CAUSES, achieved, epoch_times, largest, profiler, quiet, setting
from epochwise.reporting.figures import interval_text, share_text, unit_for
from epochwise.reporting.machine import bar
from epochwise.reporting.terminal import Sized, blocks, heading, notes, pairs, plain_table

MOST_PARTS = 14
BAR_COLUMNS, FEWEST_NAME_COLUMNS, NUMBER_COLUMNS = 8, 12, 8
DIM = "dim"


def render(explanation: Explanation) -> RenderableType:
    """The whole explanation, for 80 columns and more."""
    model = explanation.model
    return blocks(
        Group(heading(f"{model.name}: where an epoch goes"), pairs(setting(explanation))),
        pairs(epoch_times(model)),
        Sized(lambda width: _where(model, width)),
        _causes(model),
        evidence_of((model,)),
        _what_ifs(explanation),
        notes([profiler(model)], "What the profiler cost (it is in no time above)"),
        Group(heading("Answer"), Text(explanation.answer)),
        notes((*explanation.notes, *model.measurement.notes)),
    )


def _where(model: ModelExplanation, width: int) -> Group:
    """The largest parts of the epoch, with what they achieve; their sum below."""
    unit = unit_for(model.epoch_seconds.median)
    numbers = max(len(unit.name), len(unit.text(model.epoch_seconds.median)))
    parts = largest(model.where, MOST_PARTS)
    room = width - numbers - 7 - BAR_COLUMNS - 3 * NUMBER_COLUMNS - 6
    names = max(FEWEST_NAME_COLUMNS, min(room, max(len(label(part.name, part.phase)) for part in parts)))
    table = plain_table(gap=1)
    table.add_column("part", width=names, no_wrap=True)
    table.add_column(unit.name, justify="right", width=numbers, no_wrap=True)
    table.add_column("share", justify="right", width=7, no_wrap=True)
    table.add_column("", width=BAR_COLUMNS, no_wrap=True)
    for head in ("GFLOP/s", "GB/s", "x best"):
        table.add_column(head, justify="right", width=NUMBER_COLUMNS, no_wrap=True)
    for part in parts:
        style = DIM if quiet(part) else ""
        table.add_row(
            Text(label(part.name, part.phase, names), style),
            unit.text(part.seconds),
            share_text(part.share),
            Text(bar(part.share, BAR_COLUMNS), style),
            *achieved(part),
        )
    total = unit.text(model.epoch_seconds.median)
    table.add_row(Text("epoch", "bold"), Text(total, "bold"), Text(share_text(1.0), "bold"))
    return Group(heading("Where an epoch goes", "fwd forward, bwd backward, upd weight update"), table)


def _causes(model: ModelExplanation) -> Group:
    """Seconds by cause, adding up to the epoch."""
    unit = unit_for(model.epoch_seconds.median)
    table = plain_table()
    table.add_column("cause")
    table.add_column(unit.name, justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    epoch = model.epoch_seconds.median
    for cause in model.causes:
        table.add_row(cause.name, unit.text(cause.seconds), share_text(cause.seconds / epoch), CAUSES.get(cause.name, ""))
    table.add_row(Text("epoch", "bold"), Text(unit.text(epoch), "bold"), Text(share_text(1.0), "bold"), "the sum")
    return Group(heading("Why it takes its seconds"), table)


def _what_ifs(explanation: Explanation) -> Group | None:
    """What the epoch would take if one thing were otherwise."""
    if not explanation.what_ifs:
        return None
    unit = unit_for(explanation.model.epoch_seconds.median)
    table: Table = plain_table()
    table.add_column("if there were")
    table.add_column("an epoch would take", justify="right")
    table.add_column("assumed", overflow="fold")
    for item in explanation.what_ifs:
        found = item.epoch_seconds
        interval = f" ({interval_text(found.low, found.high, unit)})"
        table.add_row(item.name, f"{unit.named(found.median)}{interval}", item.assumption)
    return Group(heading("What it could be", "predicted; the range is what the profiler leaves open"), table)
