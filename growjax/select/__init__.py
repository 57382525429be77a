"""Finds the best start for one source, target, corpus and regime within a budget of training steps."""
