"""Models as graphs of layers, one file per framework."""
