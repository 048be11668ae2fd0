"""Callbacks of a training run, one file per framework."""
