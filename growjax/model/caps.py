"""Soft caps: numbers bent to lie between -cap and cap (Gemma Team 2024, arXiv 2408.00118, section 2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def capped(x: jax.Array, cap: float | None) -> jax.Array:
    """cap tanh(x / cap); x where there is no cap."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def under_cap(gradient: jax.Array, made: jax.Array, cap: float | None) -> jax.Array:
    """The gradient by x, of that by what `capped` made of it; minus infinity stands for what was left out."""
    if cap is None:
        return gradient
    return gradient * (1 - jnp.square(jnp.where(made == -jnp.inf, 0, made) / cap))
