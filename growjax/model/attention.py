"""Causal attention with a derivative of its own, which computes the scores again, so that none need be kept for it.

A CPU takes a few sequences at a time. Other platforms take all at once, in one of the `WAYS`; a GPU's compiler merges
both computations in models of up to eight layers, and keeps the scores there all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from growjax.model.caps import capped, under_cap
from growjax.model.products import product, turned

Forward = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""(q, k, v) to attention and the level of every query."""

Backward = Callable[..., tuple[jax.Array, jax.Array, jax.Array]]
"""(q, k, v, attention, level, gradient) to the gradients of q, k and v."""

SCORES = 3 << 16
"""Scores at a time on a CPU, about: few enough to stay in a core's own cache."""

ELSEWHERE = "xla"
"""The way of other platforms, of `WAYS`; float64 has `scores`, since the library's ways compute in float32."""


def causal_attention(
    q_BTGRK: jax.Array,
    k_BSGK: jax.Array,
    v_BSGK: jax.Array,
    *,
    reach: jax.Array | None = None,
    cap: float | None = None,
) -> jax.Array:
    """Grouped-query causal attention (Ainslie et al. 2023, arXiv 2305.13245), softmax in at least float32.

    Returns [B, T, G, R, K]. Scores are divided by sqrt(K). A query sees `reach` positions (int32 [], itself included),
    all up to itself where there is none (Beltagy et al. 2020, arXiv 2004.05150, section 3.1). With a `cap` scores s
    become cap tanh(s / cap) (Gemma Team 2024, arXiv 2408.00118, section 2).
    """
    return _attend(q_BTGRK, k_BSGK, v_BSGK, reach, cap)


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


def _scores(q: jax.Array, k: jax.Array, reach: jax.Array | None, cap: float | None) -> jax.Array:
    """[b, G, RT, S], in at least float32; minus infinity where a query does not see a key."""
    length = k.shape[-2]
    scores = product(q, jnp.swapaxes(k, -1, -2))
    seen = jnp.tile(_seen(length, reach), (q.shape[-2] // length, 1))
    return jnp.where(seen, capped(scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), cap), -jnp.inf)


def _seen(length: int, reach: jax.Array | None) -> jax.Array:
    seen = jnp.tril(jnp.ones((length, length), jnp.bool_))
    if reach is None:
        return seen
    place = jnp.arange(length, dtype=jnp.int32)
    return seen & (place[:, None] - place < reach)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q: jax.Array, k: jax.Array, v: jax.Array, reach: jax.Array | None, cap: float | None) -> jax.Array:
    return _attend_forward(q, k, v, reach, cap)[0]


def _attend_forward(
    q: jax.Array, k: jax.Array, v: jax.Array, reach: jax.Array | None, cap: float | None
) -> tuple[jax.Array, tuple[jax.Array | None, ...]]:
    q, k, v = jax.lax.optimization_barrier((q, k, v))
    (forward, _), (other, _) = _ways(q, reach, cap)
    out, level = jax.lax.platform_dependent(q, k, v, cpu=forward, default=other)
    return out, (q, k, v, out, level, reach)


def _attend_backward(
    cap: float | None, saved: tuple[jax.Array | None, ...], g: jax.Array
) -> tuple[jax.Array | None, ...]:
    *arrays, reach = saved
    (_, backward), (_, other) = _ways(g, reach, cap)
    return (*jax.lax.platform_dependent(*arrays, g, cpu=backward, default=other), None)


_attend.defvjp(_attend_forward, _attend_backward)

Ways = tuple[tuple[Forward, Backward], tuple[Forward, Backward]]


def _ways(x: jax.Array, reach: jax.Array | None, cap: float | None) -> Ways:
    """A CPU's way, and that of other platforms; the library's know neither caps nor a reach that is computed."""
    name = "scores" if x.dtype == jnp.float64 or reach is not None or cap is not None else ELSEWHERE
    if reach is None and cap is None:
        return (_some_forward, _some_backward), WAYS[name]
    few, all_ = (tuple(partial(way, reach=reach, cap=cap) for way in ways) for ways in (_SOME, WAYS[name]))
    return few, all_  # pyright: ignore[reportReturnType]


def _some_forward(
    q: jax.Array, k: jax.Array, v: jax.Array, *, reach: jax.Array | None = None, cap: float | None = None
) -> tuple[jax.Array, jax.Array]:
    """Attention and the level of every query: the logarithm of its sum of exponentials, [B, G, RT, 1]."""
    scale = q.shape[-1] ** -0.5

    def one(q_bTGRK: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        q, k, v = jax.lax.optimization_barrier((_by_group(q_bTGRK * scale), _by_group(k), _by_group(v)))
        scores = _scores(q, k, reach, cap)
        largest = jnp.max(scores, axis=-1, keepdims=True)
        powers = jax.lax.optimization_barrier(jnp.exp(scores - largest))  # computed once, not again in the sum
        total = jnp.sum(powers, axis=-1, keepdims=True)
        out = (product(powers.astype(v.dtype), v) * (1 / total)).astype(v.dtype)
        return _by_position(out, q_bTGRK), largest + jnp.log(total)

    return _by_sequences(one, q, k, v)


def _some_backward(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    out: jax.Array,
    level: jax.Array,
    g: jax.Array,
    *,
    reach: jax.Array | None = None,
    cap: float | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """With P = exp(scores - level) the softmax: dV = P' g, dS = P (g V' - sum(g out)). Computing P again is cheaper
    than fetching it from memory (Dao et al. 2022, arXiv 2205.14135, algorithm 4)."""
    scale = q.shape[-1] ** -0.5

    def one(q_bTGRK: jax.Array, k_bSGK: jax.Array, v: jax.Array, out: jax.Array, level: jax.Array, g: jax.Array):
        own = _by_group(jnp.sum(g.astype(level.dtype) * out, axis=-1, keepdims=True))
        laid = (_by_group(q_bTGRK * scale), _by_group(k_bSGK), _by_group(v), _by_group(g))
        q, k, v, g = jax.lax.optimization_barrier(laid)
        scores = _scores(q, k, reach, cap)
        shares = jax.lax.optimization_barrier(jnp.exp(scores - level))
        dv = turned(product(turned(g), shares.astype(v.dtype)))
        ds = under_cap(shares * (product(g, jnp.swapaxes(v, -1, -2)) - own), scores, cap).astype(v.dtype)
        ds = jax.lax.optimization_barrier(ds)
        dq, dk = product(ds, k) * scale, turned(product(turned(q), ds))
        return _by_position(dq, q_bTGRK), _by_position(dk, k_bSGK), _by_position(dv, k_bSGK)

    return _by_sequences(one, q, k, v, out, level, g)


_SOME = (_some_forward, _some_backward)


def _all_scores(q: jax.Array, k: jax.Array, reach: jax.Array | None, cap: float | None) -> jax.Array:
    """[B, G, R, T, S], in at least float32; minus infinity where a query does not see a key."""
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("btgrk,bsgk->bgrts", q * q.shape[-1] ** -0.5, k, preferred_element_type=wide)
    return jnp.where(_seen(k.shape[1], reach), capped(scores, cap), -jnp.inf)


def _scores_forward(
    q: jax.Array, k: jax.Array, v: jax.Array, *, reach: jax.Array | None = None, cap: float | None = None
) -> tuple[jax.Array, jax.Array]:
    """The formulas of `_some_forward`, of all sequences at once; the order in memory is left to the compiler."""
    scores = _all_scores(q, k, reach, cap)
    level = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    out = jnp.einsum("bgrts,bsgk->btgrk", jnp.exp(scores - level).astype(v.dtype), v)
    return out, level.reshape(*level.shape[:2], -1, 1)


def _scores_backward(
    q: jax.Array, k: jax.Array, v: jax.Array, out: jax.Array, level: jax.Array, g: jax.Array, *,
    reach: jax.Array | None = None, cap: float | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
    scale, scores = q.shape[-1] ** -0.5, _all_scores(q, k, reach, cap)
    shares = jnp.exp(scores - level.reshape(*scores.shape[:-1], 1))
    own = jnp.einsum("btgrk,btgrk->bgrt", g.astype(level.dtype), out.astype(level.dtype))[..., None]
    dshares = jnp.einsum("btgrk,bsgk->bgrts", g, v, preferred_element_type=level.dtype)
    ds = under_cap(shares * (dshares - own), scores, cap).astype(v.dtype)
    dv = jnp.einsum("bgrts,btgrk->bsgk", shares.astype(v.dtype), g)
    dq = jnp.einsum("bgrts,bsgk->btgrk", ds, k) * scale
    dk = jnp.einsum("bgrts,btgrk->bsgk", ds, q) * scale
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype)


def _library(implementation: Literal["xla", "cudnn"]) -> tuple[Forward, Backward]:
    """`jax.nn.dot_product_attention`; its derivative computes the forward pass again."""

    def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        heads = q.reshape(*q.shape[:2], -1, q.shape[-1])
        made = jax.nn.dot_product_attention(heads, k, v, is_causal=True, implementation=implementation)
        return made.reshape(q.shape)

    def forward(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        level = jax.eval_shape(_some_forward, q, k, v)[1]
        return attention(q, k, v), jnp.zeros(level.shape, level.dtype)  # not asked for in the derivative

    def backward(q: jax.Array, k: jax.Array, v: jax.Array, out: jax.Array, level: jax.Array, g: jax.Array) -> tuple:
        return jax.vjp(attention, q, k, v)[1](g)

    return forward, backward


WAYS: dict[str, tuple[Forward, Backward]] = {
    "scores": (_scores_forward, _scores_backward),
    "xla": _library("xla"),
    "cudnn": _library("cudnn"),
}
"""By name: (forward, derivative). `scores` is growjax's own; `cudnn` takes bfloat16 and float16 alone."""
