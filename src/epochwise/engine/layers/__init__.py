"""Layers as operations, one file per framework."""
