"""Draws a plan of experiments for the terminal: what it will take, or how much of it is done."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from epochwise.experiments.request import Plan, PlannedProtocol
from epochwise.explaining.wording import FRAMEWORKS
from epochwise.reporting.evidence import counted, duration
from epochwise.reporting.figures import NOTHING, shortened
from epochwise.reporting.terminal import QUIET, blocks, hanging, heading, notes, pairs, plain_table

TITLE_COLUMNS = 44
NAME_COLUMNS = 60


def plan_view(plan: Plan) -> RenderableType:
    """How many trainings each experiment takes, how many of them are there, and how long the rest will take."""
    table = plain_table()
    table.add_column("")
    table.add_column("experiment", no_wrap=True)
    for name in ("trainings", "there", "on one core"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in plan.protocols:
        table.add_row(*_cells(row), style=QUIET if row.left_out else "")
    table.add_row(*(Text(text, "bold") for text in ("", "all, each once", f"{plan.trainings:,}", f"{plan.done:,}", "")))
    return blocks(_head(plan, "planned"), table, hanging(outlook(plan)), _left_out(plan), notes(plan.notes))


def status_view(plan: Plan) -> RenderableType:
    """How far each experiment is."""
    table = plain_table()
    table.add_column("")
    table.add_column("experiment", no_wrap=True)
    table.add_column("trained", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in plan.protocols:
        share = row.done / row.trainings if row.trainings else 1.0
        done = NOTHING if row.left_out else f"{row.done:,} of {row.trainings:,}"
        table.add_row(row.id, Text(shortened(row.title, TITLE_COLUMNS)), done, "" if row.left_out else f"{share:4.0%}")
    return blocks(_head(plan, "so far"), table, hanging(outlook(plan)), _left_out(plan))


def outlook(plan: Plan) -> str:
    """What is there and what is left, in a sentence."""
    left = plan.trainings - plan.done
    if not plan.trainings:
        return "Nothing is to be trained."
    if not left:
        return f"All {counted(plan.trainings, 'training is', 'trainings are')} in the store; nothing is left to train."
    where = "on the cluster" if plan.workers is None else f"with {counted(plan.workers, 'worker', 'workers')}"
    there = (
        f"{plan.done:,} of at most {counted(plan.trainings, 'training is', 'trainings are')} in the store. "
        if plan.done
        else ""
    )
    return f"{there}{counted(left, 'training is', 'trainings are')} left: about {duration(plan.seconds)} {where}."


def _head(plan: Plan, word: str) -> RenderableType:
    """What the plan is of."""
    rows = [
        ("models", ", ".join(shortened(name, NAME_COLUMNS // len(plan.models)) for name in plan.models)),
        ("data", plan.data),
        ("tier", plan.tier),
        ("backend", f"conventions of {FRAMEWORKS.get(plan.backend, plan.backend)}"),
        ("store", plan.store),
    ]
    return Group(heading(f"Experiments, {word}"), pairs(rows))


def _cells(row: PlannedProtocol) -> tuple[str | Text, ...]:
    title = Text(shortened(row.title, TITLE_COLUMNS))
    if row.left_out:
        return row.id, title, NOTHING, NOTHING, "left out"
    return row.id, title, f"{row.trainings:,}", f"{row.done:,}", duration(row.seconds) if row.seconds else NOTHING


def _left_out(plan: Plan) -> RenderableType | None:
    """Which experiments cannot be run, and why."""
    reasons = dict.fromkeys(row.left_out for row in plan.protocols if row.left_out)
    rows = ([row.id for row in plan.protocols if row.left_out == reason] for reason in reasons)
    return notes((f"{', '.join(names)}: {reason}" for names, reason in zip(rows, reasons, strict=True)), "Left out")
