"""What the extra time of a model buys: protocols, and verdicts."""
