"""Notes that every explanation carries over from the counts."""

from __future__ import annotations

from epochwise.counting.counts import Counts


def counting_notes(*models: Counts) -> list[str]:
    """What a reader must know to trust the counts of these models; what is true of several is said once."""
    notes = [note for counts in models for note in counts.notes]
    for counts in models:
        if counts.uncounted:
            names = ", ".join(dict.fromkeys(row.operation for row in counts.uncounted))
            notes.append(f"{counts.name} has operations without a rule, whose work is in no figure: {names}.")
    return list(dict.fromkeys(notes))
