"""Fused CPU training of small networks.

``epochwise.fit`` trains a Keras model with it; :func:`supports` says beforehand whether it can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epochwise.engine.support import Support

__all__ = ["supports"]


def supports(model: Any) -> Support:
    """Whether the engine trains a Keras model, and if not, why; see :func:`epochwise.engine.keras.supports`."""
    from epochwise.engine import keras

    return keras.supports(model)
