"""The plain trainer: every operation in NumPy, written to be read. The compiled trainer is tested against it.

It is not made to be fast, and has no threads.
"""

from __future__ import annotations

from epochwise.engine.twin.trainer import PlainTrainer

__all__ = ["PlainTrainer"]
