"""Data that arrive batch by batch, one file per framework."""
