"""Whether a function that was running still runs: how the end of a training loop is noticed that nobody tells us of.

Keras calls no callback when ``fit`` is left by an exception or by Ctrl-C.
"""

from __future__ import annotations

import sys
import threading
from types import FrameType


class Running:
    """A function of this thread that is running now, the nearest of that name; later, whether it still is.

    Args:
        name: of the function. Where none of that name runs, it counts as running for ever.
    """

    def __init__(self, name: str) -> None:
        self._thread = threading.get_ident()
        self._frame: FrameType | None = sys._getframe(1)
        while self._frame is not None and self._frame.f_code.co_name != name:
            self._frame = self._frame.f_back
        self._over = False
        self._found = self._frame is not None

    def __call__(self) -> bool:
        """Whether it still runs; may be asked from any thread."""
        if not self._found or self._over:
            return not self._over
        frame = sys._current_frames().get(self._thread)
        while frame is not None and frame is not self._frame:
            frame = frame.f_back
        if frame is None:
            self.forget()
        return not self._over

    def forget(self) -> None:
        """Count it as over, and let go of what it held."""
        self._over, self._frame = True, None
