"""What a tracer or a profiler does at the borders of calls of a step; in a file that imports no framework."""

from __future__ import annotations

import contextlib
from typing import Any


class StepHooks:
    """What a tracer does at the borders of calls; these defaults do nothing.

    A hook that returns tensors may return others in their place, in the same order, such as marked ones.
    """

    def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
        """Held open while the call runs, so that its operations can be told."""
        del call
        return contextlib.nullcontext()

    def tensors_in(self, call: int, tensors: list[Any]) -> list[Any]:
        """The tensors that go into a call, in the order of its arguments."""
        del call
        return tensors

    def tensors_out(self, call: int, tensors: list[Any]) -> list[Any]:
        """The tensors that come out of a call."""
        del call
        return tensors

    def gradients(self, variables: list[Any], gradients: list[Any]) -> list[Any]:
        """The gradients that the optimizer receives, one for each Keras variable; ``None`` where there is none."""
        del variables
        return gradients
