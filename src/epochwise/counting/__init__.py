"""Trace -> :class:`~epochwise.counting.counts.Counts`: what a training step costs, layer by layer.

:func:`~epochwise.counting.models.count` does it for a model, :func:`~epochwise.counting.assembling.count_trace` for a trace.
Formulas are in ``rules*.py``; :mod:`~epochwise.counting.flow` tells a weight gradient from an input gradient;
:mod:`~epochwise.counting.traffic` and :mod:`~epochwise.counting.memory` hold the conventions for bytes.
"""

from __future__ import annotations

from epochwise.counting.assembling import count_trace
from epochwise.counting.models import count, trace_model

__all__ = ["count", "count_trace", "trace_model"]
