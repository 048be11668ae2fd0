"""The README's tables of the engine, out of the records: printed, or with ``--write`` put where the marks are.

    python benchmarks/tables.py --write

A table stands between ``<!-- measured: NAME FILE -->`` and ``<!-- /measured -->``; NAME is ``ladder``, ``batches`` or ``pair``.
Seconds are per epoch of 60,000 samples, medians of the turns.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ENGINE = "engine"
MARKED = re.compile(r"(<!-- measured: (\w+) (\S+) -->\n).*?(<!-- /measured -->)", re.DOTALL)
DIGITS, BATCH = 2, 32

Row = dict[str, Any]


def seconds_of(row: Row) -> dict[str, float]:
    """Each contender's median."""
    return {who: statistics.median(turns) for who, turns in row["epoch_seconds"].items()}


def trials_of(row: Row) -> dict[str, float]:
    """The trials of those that had no turns; in the first records everybody had turns."""
    trials: dict[str, float] = row.get("trial_epoch_seconds", {})
    return trials


def best_of(row: Row) -> tuple[str, float]:
    """The quickest setting of a framework, and its seconds."""
    others = {who: seconds for who, seconds in seconds_of(row).items() if who != ENGINE}
    who = min(others, key=others.__getitem__)
    return who, others[who]


def gain(row: Row) -> float:
    """How many times longer than the engine's the best setting of a framework takes."""
    return best_of(row)[1] / seconds_of(row)[ENGINE]


def short(number: float) -> str:
    """With two digits that say something."""
    digits = max(0, DIGITS - 1 - math.floor(math.log10(number)))
    return f"{number:.{digits}f}"


def spread(turns: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{short(statistics.median(turns))} ({short(min(turns))}-{short(max(turns))})"


def lines_of(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def ladder(rows: list[Row]) -> str:
    """Every architecture at batch 32, those that the engine gains least on last, and the mean."""
    rows = sorted((row for row in rows if row["batch"] == BATCH), key=gain, reverse=True)
    cells = []
    for row in rows:
        own, (who, seconds) = row["epoch_seconds"][ENGINE], best_of(row)
        above = statistics.median(own) / row["roofline_seconds"]
        cells.append([row["work"], spread(own), f"{above:.1f}", short(seconds), who, f"**{gain(row):.1f}**"])
    mean = statistics.geometric_mean(gain(row) for row in rows)
    cells.append(["geometric mean", "", "", "", "", f"**{mean:.1f}**"])
    most = statistics.geometric_mean(best_of(row)[1] / row["roofline_seconds"] for row in rows)
    cells.append(["were each at its roofline", "", "1.0", "", "", f"{most:.1f}"])
    head = ["architecture", "engine (lowest-highest)", "times the roofline", "best of the frameworks", "which", "gain"]
    return lines_of(head, cells)


def batches(rows: list[Row]) -> str:
    """The pair at each batch size."""
    rows = sorted(rows, key=lambda row: (row["work"], row["batch"]))
    cells = []
    for row in rows:
        who, seconds = best_of(row)
        own = spread(row["epoch_seconds"][ENGINE])
        cells.append([row["work"], str(row["batch"]), own, short(seconds), who, f"**{gain(row):.1f}**"])
    return lines_of(["model", "batch", "engine (lowest-highest)", "best of the frameworks", "which", "gain"], cells)


def pair(rows: list[Row]) -> str:
    """The question's two models at batch 32, with every contender; what had no turns has its trial, in brackets."""
    two = [
        next(row for row in rows if (row["work"], row["batch"]) == (name, BATCH)) for name in ("question CNN", "question MLP")
    ]
    names = list(dict.fromkeys(who for row in two for who in (*row["epoch_seconds"], *trials_of(row))))
    cells = []
    for who in names:
        line = ["the engine" if who == ENGINE else who]
        for row in two:
            turns, trial = row["epoch_seconds"].get(who), trials_of(row).get(who)
            line.append(short(statistics.median(turns)) if turns else f"({short(trial)})" if trial else "")
        cells.append(line)
    return lines_of(["", "CNN", "MLP"], cells)


TABLES = {"ladder": ladder, "batches": batches, "pair": pair}


def filled(text: str) -> str:
    """A page with its tables as the records have them now."""

    def table(found: re.Match[str]) -> str:
        rows = json.loads((ROOT / found[3]).read_text())["rows"]
        return f"{found[1]}{TABLES[found[2]](rows)}{found[4]}"

    return MARKED.sub(lambda found: table(found) if found[2] in TABLES else found[0], text)


def main() -> None:
    """Print the README's tables, or write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--json", type=Path, help="print all tables of this record instead")
    options = parser.parse_args()
    page = ROOT / "README.md"
    if options.json:
        rows = json.loads(options.json.read_text())["rows"]
        print(ladder(rows), batches(rows), sep="\n")
    elif options.write:
        page.write_text(filled(page.read_text()))
    else:
        print("\n".join(found[0] for found in MARKED.finditer(filled(page.read_text()))))


if __name__ == "__main__":
    main()
