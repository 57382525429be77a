"""Causal attention with a derivative of its own: no array of scores is turned, and the exponentials are kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from growjax.model.products import product, turned


def causal_attention(q_BTGRK: jax.Array, k_BSGK: jax.Array, v_BSGK: jax.Array) -> jax.Array:
    """Grouped-query causal attention (Ainslie et al. 2023, arXiv 2305.13245), softmax in at least float32.

    Returns [B, T, G, R, K]. Scores are divided by sqrt(K).
    """
    batch, length, groups, queries, size = q_BTGRK.shape
    # The queries of one group lie one after the other, so that a group is one product of two matrices.
    q = (q_BTGRK * size**-0.5).transpose(0, 2, 3, 1, 4).reshape(batch, groups, queries * length, size)
    out = _attend(q, k_BSGK.transpose(0, 2, 1, 3), v_BSGK.transpose(0, 2, 1, 3))
    return out.reshape(batch, groups, queries, length, size).transpose(0, 3, 1, 2, 4)


@jax.custom_vjp
def _attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """[B, G, RT, K] scaled queries, [B, G, S, K] keys and values, to [B, G, RT, K]."""
    return _attend_forward(q, k, v)[0]


def _attend_forward(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    length = k.shape[-2]
    q, k, v = jax.lax.optimization_barrier((q, k, v))
    scores = product(q, jnp.swapaxes(k, -1, -2))
    wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    seen = jnp.tile(jnp.tril(jnp.ones((length, length), jnp.bool_)), (q.shape[-2] // length, 1))
    wide = jnp.where(seen, wide, -jnp.inf)
    powers = jnp.exp(wide - jnp.max(wide, axis=-1, keepdims=True))
    powers = jax.lax.optimization_barrier(powers)  # computed once, not again in the sum
    share = 1 / jnp.sum(powers, axis=-1, keepdims=True)
    powers = powers.astype(v.dtype)
    out = (product(powers, v) * share).astype(v.dtype)
    return out, (q, k, v, powers, share, out)


def _attend_backward(saved: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """With P the softmax: dV = P' g, dS = P (g V' - sum(g out)); P is `powers * share`, its share goes to g."""
    q, k, v, powers, share, out = saved
    wide = g.astype(share.dtype)
    own = jnp.sum(wide * out, axis=-1, keepdims=True) * share
    g = jax.lax.optimization_barrier((wide * share).astype(v.dtype))
    dv = turned(product(turned(g), powers))
    ds = (powers * (product(g, jnp.swapaxes(v, -1, -2)) - own)).astype(v.dtype)
    ds = jax.lax.optimization_barrier(ds)
    return product(ds, k), turned(product(turned(q), ds)), dv


_attend.defvjp(_attend_forward, _attend_backward)
