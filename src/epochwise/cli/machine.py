"""``epochwise machine``: what this computer can do."""

from __future__ import annotations

from typing import Annotated

import typer

from epochwise.cli.options import Force, JsonFile, Progress, check_outputs, show, write_output


def machine(
    refresh: Annotated[bool, typer.Option("--refresh", help="Measure again, even where a measurement is kept.")] = False,
    json: JsonFile = None,
    force: Force = False,
) -> None:
    """What this computer can do: peak FLOP/s and bandwidth, measured and kept."""
    check_outputs(force, json)
    from epochwise.machines.measure import machine as measured

    with Progress() as progress:
        found = measured(refresh, progress)
    if json != "-":
        from epochwise.reporting.machine import view

        show(view(found))
    if json:
        write_output(json, found.to_json(), force)
