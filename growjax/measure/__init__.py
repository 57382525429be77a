"""Measures: how far two models are apart, how far a state has left the cloned subspace, what a loss curve is worth."""
