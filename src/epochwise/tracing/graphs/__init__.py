"""Graphs of a framework -> operations, with functions inlined and loops listed once."""
