"""Preflight: the canaries that must pass in an environment before anything is computed there."""
