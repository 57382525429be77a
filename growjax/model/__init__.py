"""The decoder: one Flax module in two dialects, with a name and a role for every axis of every parameter."""
