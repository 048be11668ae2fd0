"""Callbacks for Keras's ``fit``: ``epochwise.callbacks.Explain()``."""

from __future__ import annotations

from epochwise.observing.keras import Explain

__all__ = ["Explain"]
