"""Loops: how often they run, and in how many of these runs an operation is needed."""
