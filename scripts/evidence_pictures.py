"""Draws the pictures of a record that `epochwise evidence --json RECORD` wrote, for texts.

    python scripts/evidence_pictures.py RECORD.json --out docs/

Each picture becomes an SVG (light or dark as the reader prefers) and a PNG. Nothing is measured.
"""

from __future__ import annotations

import argparse
import sys

from epochwise.cli.failures import told
from epochwise.errors import UsageError
from epochwise.experiments.record import Evidence
from epochwise.reporting.evidence_pictures import write_pictures
from epochwise.reporting.records import load


def main() -> None:
    """Write the pictures, and say which."""
    parser = argparse.ArgumentParser(description="Draw the pictures of a record of experiments.")
    parser.add_argument("record", metavar="RECORD.json", help="what epochwise evidence --json wrote")
    parser.add_argument("--out", metavar="FOLDER", default="docs", help="where the pictures go (docs)")
    parser.add_argument("--dark", action="store_true", help="a second PNG of each, for dark grounds")
    parser.add_argument("--force", action="store_true", help="replace pictures that are there")
    given = parser.parse_args()
    with told():
        record = load(given.record)
        if not isinstance(record, Evidence):
            raise UsageError(
                f"{given.record} is no record of experiments.", remedy="epochwise evidence --json record.json makes one"
            )
        for path in write_pictures(record, given.out, given.force, given.dark):
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
