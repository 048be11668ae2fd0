"""The protocols P0 to P10: each plans its trials, and judges their results."""
