"""Kernels: one family per file, each with its formula; their plain twins are in ``twin``."""
