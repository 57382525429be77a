"""The decoder: one Flax module put together from parts, with a name and a role for every axis of every parameter."""
