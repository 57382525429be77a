"""Causal attention with a derivative of its own, a few sequences at a time: no array of all scores is ever kept."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from growjax.model.products import product, turned

SCORES = 3 << 16
"""Scores at a time, about: few enough to stay in a core's own cache."""


def causal_attention(q_BTGRK: jax.Array, k_BSGK: jax.Array, v_BSGK: jax.Array) -> jax.Array:
    """Grouped-query causal attention (Ainslie et al. 2023, arXiv 2305.13245), softmax in at least float32.

    Returns [B, T, G, R, K]. Scores are divided by sqrt(K). On a CPU the derivative is growjax's own; other devices
    have `jax.nn.dot_product_attention`, in the form that XLA compiles and the pins keep deterministic.
    """
    return _attend(q_BTGRK, k_BSGK, v_BSGK)


def _by_sequences(one: Any, *arrays: jax.Array) -> Any:
    """`one` of a few rows of arrays [B, ...] at a time, its results put together again."""
    batch, length, groups, queries, _ = arrays[0].shape
    most = max(2, SCORES // (groups * queries * length**2))
    few = max(n for n in range(1, min(most, batch) + 1) if batch % n == 0)
    parts = tuple(x.reshape(batch // few, few, *x.shape[1:]) for x in arrays)
    _, made = jax.lax.scan(lambda _, part: (None, one(*part)), None, parts)
    return tuple(x.reshape(batch, *x.shape[2:]) for x in made)


def _by_group(x: jax.Array) -> jax.Array:
    """[b, T, G, R, K] or [b, S, G, K] to [b, G, RT, K]: the queries of one group lie one after the other, so that a
    group is one product of two matrices."""
    x = x if x.ndim == 5 else x[:, :, :, None]
    return x.transpose(0, 2, 3, 1, 4).reshape(x.shape[0], x.shape[2], -1, x.shape[-1])


def _by_position(x: jax.Array, like: jax.Array) -> jax.Array:
    """The inverse of `_by_group`, to the shape of `like`."""
    parts = x.reshape(x.shape[0], x.shape[1], -1, like.shape[1], x.shape[-1])
    return parts.transpose(0, 3, 1, 2, 4).reshape(like.shape)


def _scores(q: jax.Array, k: jax.Array) -> jax.Array:
    """[b, G, RT, S], in at least float32; minus infinity where a key lies ahead of its query."""
    length = k.shape[-2]
    scores = product(q, jnp.swapaxes(k, -1, -2))
    seen = jnp.tile(jnp.tril(jnp.ones((length, length), jnp.bool_)), (q.shape[-2] // length, 1))
    return jnp.where(seen, scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), -jnp.inf)


def _fused(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    heads = q.reshape(*q.shape[:2], -1, q.shape[-1])
    return jax.nn.dot_product_attention(heads, k, v, is_causal=True, implementation="xla").reshape(q.shape)


@jax.custom_vjp
def _attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return _attend_forward(q, k, v)[0]


def _attend_forward(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    def fused(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        level = jax.eval_shape(_some_forward, q, k, v)[1]
        return _fused(q, k, v), jnp.zeros(level.shape, level.dtype)  # not asked for there

    q, k, v = jax.lax.optimization_barrier((q, k, v))
    out, level = jax.lax.platform_dependent(q, k, v, cpu=_some_forward, default=fused)
    return out, (q, k, v, out, level)


def _attend_backward(saved: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    def fused(q: jax.Array, k: jax.Array, v: jax.Array, out: jax.Array, level: jax.Array, g: jax.Array) -> tuple:
        return jax.vjp(_fused, q, k, v)[1](g)

    return jax.lax.platform_dependent(*saved, g, cpu=_some_backward, default=fused)


_attend.defvjp(_attend_forward, _attend_backward)


def _some_forward(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Attention and the level of every query: the logarithm of its sum of exponentials, [B, G, RT, 1]."""
    scale = q.shape[-1] ** -0.5

    def one(q_bTGRK: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        q, k, v = jax.lax.optimization_barrier((_by_group(q_bTGRK * scale), _by_group(k), _by_group(v)))
        scores = _scores(q, k)
        largest = jnp.max(scores, axis=-1, keepdims=True)
        powers = jax.lax.optimization_barrier(jnp.exp(scores - largest))  # computed once, not again in the sum
        total = jnp.sum(powers, axis=-1, keepdims=True)
        out = (product(powers.astype(v.dtype), v) * (1 / total)).astype(v.dtype)
        return _by_position(out, q_bTGRK), largest + jnp.log(total)

    return _by_sequences(one, q, k, v)


def _some_backward(
    q: jax.Array, k: jax.Array, v: jax.Array, out: jax.Array, level: jax.Array, g: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """With P = exp(scores - level) the softmax: dV = P' g, dS = P (g V' - sum(g out)). Computing P again is cheaper
    than fetching it from memory (Dao et al. 2022, arXiv 2205.14135, algorithm 4)."""
    scale = q.shape[-1] ** -0.5

    def one(q_bTGRK: jax.Array, k_bSGK: jax.Array, v: jax.Array, out: jax.Array, level: jax.Array, g: jax.Array):
        own = _by_group(jnp.sum(g.astype(level.dtype) * out, axis=-1, keepdims=True))
        laid = (_by_group(q_bTGRK * scale), _by_group(k_bSGK), _by_group(v), _by_group(g))
        q, k, v, g = jax.lax.optimization_barrier(laid)
        shares = jax.lax.optimization_barrier(jnp.exp(_scores(q, k) - level))
        dv = turned(product(turned(g), shares.astype(v.dtype)))
        ds = (shares * (product(g, jnp.swapaxes(v, -1, -2)) - own)).astype(v.dtype)
        ds = jax.lax.optimization_barrier(ds)
        dq, dk = product(ds, k) * scale, turned(product(turned(q), ds))
        return _by_position(dq, q_bTGRK), _by_position(dk, k_bSGK), _by_position(dv, k_bSGK)

    return _by_sequences(one, q, k, v, out, level, g)
