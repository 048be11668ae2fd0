"""Training runs: their descriptions, where results are kept, and what runs them."""
