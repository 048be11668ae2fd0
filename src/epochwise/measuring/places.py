"""Which layer and phase a kernel works for, from the scopes that were open when its operation was traced or called.

While the training function is traced (or, on PyTorch, while steps are profiled) each layer call opens a scope named after its
number. Frameworks carry such names through automatic differentiation and compilation into what their profilers record.
"""

from __future__ import annotations

import re

from epochwise.measuring.xplane import Place
from epochwise.tracing.recorder import OPTIMIZER, LayerRecorder

SCOPE = re.compile(r"epochwise\.(\d+)")


def scope_name(call: int) -> str:
    """Name of the scope of a layer call."""
    return f"epochwise.{call}"


class Places:
    """Reads layer and phase out of a name that holds scopes; the innermost scope counts.

    Args:
        recorder: whose calls opened the scopes.
    """

    def __init__(self, recorder: LayerRecorder) -> None:
        self.recorder = recorder

    def of(self, name: str, *, backward: bool) -> Place:
        """Layer and phase.

        Args:
            name: what the framework made of the scopes, such as ``jit(train_step)/jvp(epochwise.1)/epochwise.3/dot_general``.
            backward: whether automatic differentiation made the operation.
        """
        scopes = SCOPE.findall(name)
        if not scopes:
            return None, "backward" if backward else None
        call = int(scopes[-1])
        if call >= self.recorder.call_count:
            return None, None
        if self.recorder.is_part(call, OPTIMIZER):
            return OPTIMIZER, "update"
        path = self.recorder.layers()[self.recorder.layer_of(call)].path
        return path, "backward" if backward else "forward"
