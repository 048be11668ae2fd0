"""``epochwise explain`` as a user runs it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.cli.test_compare import RANDOM, folder, run

__all__ = ["folder"]

pytestmark = pytest.mark.torch


def test_the_parts_are_the_epoch_and_the_result_is_drawn_again(folder: Path) -> None:
    """Parts and causes add up; layers say what they achieve; the terminal shows the same from the run and from its file."""
    outputs = ("--json", "r.json", "--report", "r.html")
    done = run(folder, "explain", "mine.py:large", *RANDOM, "--seconds", "1.5", *outputs)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "r.json").read_text())
    assert result["schema"] == "epochwise/explain/1"
    model = result["model"]
    epoch = model["epoch_seconds"]["median"]
    assert math.isclose(sum(part["seconds"] for part in model["where"]), epoch, rel_tol=1e-9)
    assert math.isclose(sum(cause["seconds"] for cause in model["causes"]), epoch, rel_tol=1e-9)
    narrow, wide = (
        next(part for part in model["where"] if part["name"] == name and part["phase"] == "forward") for name in ("1", "3")
    )
    flops = [part["flops_per_second"] * part["seconds"] for part in (narrow, wide)]
    assert math.isclose(flops[1], 512 / 64 * flops[0], rel_tol=1e-9)
    assert narrow["roofline_seconds"] < wide["roofline_seconds"]
    assert "loading" in done.stderr
    assert "Where an epoch goes" in done.stdout
    assert "large: where an epoch goes" in (folder / "r.html").read_text()
    assert run(folder, "report", "r.json").stdout == done.stdout
    refused = run(folder, "explain", "mine.py:small", *RANDOM, "--seconds", "2", "--json", "r.json")
    assert refused.returncode != 0
    assert "--force" in refused.stderr


def test_a_budget_too_small(folder: Path) -> None:
    """Says what would do."""
    done = run(folder, "explain", "mine.py:large", *RANDOM, "--seconds", "0.00001")
    assert done.returncode != 0
    assert "--seconds" in done.stderr
