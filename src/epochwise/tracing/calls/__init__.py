"""Calls of a framework's operators, recorded while a step runs on tensors without content."""
