"""Losses, metrics and optimizers that a model was compiled with, one file per framework."""
