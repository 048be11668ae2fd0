"""How many steps make a stretch of a twentieth of a second or so, by what steps were seen to take."""

from __future__ import annotations

SECONDS = 0.075
"""Long enough that what happens between stretches costs little, short enough for Ctrl-C and the progress bar."""
_GROWTH = 4


class Pace:
    """Begins with one step, and grows as quickly as measurements allow."""

    def __init__(self) -> None:
        self.steps = 1

    def saw(self, steps: int, seconds: float) -> None:
        """A stretch of so many steps took so long."""
        fitting = max(1, int(SECONDS * steps / max(seconds, 1e-9)))
        self.steps = min(fitting, self.steps * _GROWTH)
