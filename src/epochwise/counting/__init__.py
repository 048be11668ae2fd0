"""Trace -> :class:`~epochwise.counting.counts.Counts`: what a training step costs, layer by layer.

:func:`~epochwise.counting.models.count` does it for a model, :func:`~epochwise.counting.assembling.count_trace` for a trace.
Formulas are in ``rules*.py``; :mod:`~epochwise.counting.flow` tells a weight gradient from an input gradient;
:mod:`~epochwise.counting.side_by_side` puts several models beside each other; :mod:`~epochwise.counting.fitting` finds the
largest batch; :mod:`~epochwise.counting.traffic` and :mod:`~epochwise.counting.memory` hold the conventions for bytes.
"""

from __future__ import annotations

from epochwise.counting.assembling import count_trace
from epochwise.counting.fitting import largest_batch
from epochwise.counting.models import count, peak_bytes, trace_model
from epochwise.counting.side_by_side import side_by_side

__all__ = ["count", "count_trace", "largest_batch", "peak_bytes", "side_by_side", "trace_model"]
