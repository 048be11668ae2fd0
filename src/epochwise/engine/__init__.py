"""Fused CPU training of small networks."""
