"""Trace -> :class:`~epochwise.counting.counts.Counts`: what a training step costs, layer by layer."""
