"""Which layer and phase a kernel works for, from the scopes that were open when its operation was traced or called.

While the training function is traced (or, on PyTorch, while steps are profiled) each layer call opens a scope named after its
number. Frameworks carry such names through automatic differentiation and compilation into what their profilers record.
"""

from __future__ import annotations

from epochwise.measuring.xplane import SCOPE, Place
from epochwise.tracing.recorder import OPTIMIZER, LayerRecorder

BACKWARD = ".backward"
"""Behind the name of a scope that is opened again while the layer's gradients are computed."""


def scope_name(call: int) -> str:
    """Name of the scope of a layer call."""
    return f"epochwise.{call}"


def backward_name(call: int) -> str:
    """Name of the scope in which the gradients of a layer call are computed."""
    return f"{scope_name(call)}{BACKWARD}"


class Places:
    """Reads layer and phase out of a name that holds scopes; the innermost scope counts.

    Args:
        recorder: whose calls opened the scopes.
    """

    def __init__(self, recorder: LayerRecorder) -> None:
        self.recorder = recorder

    def of_scope(self, name: str) -> Place:
        """Layer and phase of a scope, by the name that :func:`scope_name` or :func:`backward_name` gave it."""
        return self.of(name, backward=name.endswith(BACKWARD))

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
