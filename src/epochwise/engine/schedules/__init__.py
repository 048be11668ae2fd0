"""Learning rates of many steps at once, one file per framework."""
