"""Copies of a user's objects that a step can be traced on."""
