"""Fused CPU training of small networks.

``epochwise.fit`` trains a Keras model with it; :func:`supports` says beforehand whether it can; :func:`fit_many` trains many
models at once, each a :class:`Job`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epochwise.engine.many import Job, fit_many
    from epochwise.engine.support import Support

__all__ = ["Job", "fit_many", "supports"]


def supports(model: Any) -> Support:
    """Whether the engine trains a Keras model, and if not, why; see :func:`epochwise.engine.keras.supports`."""
    from epochwise.engine import keras

    return keras.supports(model)


def __getattr__(name: str) -> object:
    if name in ("Job", "fit_many"):
        from epochwise.engine import many

        return getattr(many, name)
    raise AttributeError(f"module 'epochwise.engine' has no attribute {name!r}")
