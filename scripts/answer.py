"""Puts the findings of the newest kept record of experiments into docs/answer.md and the README, between their marks.

    python scripts/answer.py            # say whether they are in order
    python scripts/answer.py --write

``<!-- verdicts -->`` stands before the verdict table, ``<!-- P6.first -->`` before the finding of that name, each with its end,
``<!-- /verdicts -->`` and so on. Nothing is measured.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from epochwise.experiments.kept import kept
from epochwise.experiments.record import Evidence, Finding
from epochwise.files import write_text

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs" / "answer.md", ROOT / "README.md")
MARKED = re.compile(r"(<!-- (?P<name>verdicts|P\d+[\w.-]*) -->\n).*?(<!-- /(?P=name) -->)", re.DOTALL)


def filled(text: str, record: Evidence) -> str:
    """The page with what the record says.

    Raises:
        KeyError: a mark names a finding that the record does not have.
    """
    findings: dict[str, Finding] = {}
    for experiment in record.experiments:
        findings |= {each.id: each for each in (experiment, *experiment.further)}

    def content(found: re.Match[str]) -> str:
        name = found["name"]
        inside = verdicts(record) if name == "verdicts" else quoted(findings[name])
        return f"{found[1]}{inside}\n{found[3]}"

    return MARKED.sub(content, text)


def verdicts(record: Evidence) -> str:
    """The verdict table."""
    rows = (
        f"| {answer.claim} | **{answer.verdict}** | {', '.join(answer.experiments) or 'counted'} |"
        for answer in record.verdicts
    )
    return "\n".join(["| what is said | verdict | by |", "|---|---|---|", *rows])


def quoted(finding: Finding) -> str:
    """A claim, its verdict, and the sentence with the figures."""
    by = f"{finding.id}, {finding.seeds} seeds" if finding.seeds else finding.id
    return f"> {finding.claim} **{finding.verdict.capitalize()}.** {finding.sentence} ({by})"


def main() -> None:
    """Fill, or say what is not in order."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put them in order")
    given = parser.parse_args()
    newest = kept()
    if newest is None:
        sys.exit("No record is kept in src/epochwise/experiments/records/.")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = filled(text, newest.record)
        if given.write:
            write_text(page, new, force=True)
        elif new != text:
            sys.exit(f"{page.name} says something else than the record of {newest.day}: python scripts/answer.py --write")


if __name__ == "__main__":
    main()
