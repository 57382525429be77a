"""Training: the optimizer, the full training state, and the compiled loop that advances it."""
