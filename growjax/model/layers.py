"""The parts of a block, as functions of their arguments. Shapes stand behind the names: B batch, T query and S key
positions, D d_model, G kv heads, R query heads per kv head, K head_dim, F d_ff, V vocabulary.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np


def project(x: jax.Array, w: jax.Array, contracted: int = 1) -> jax.Array:
    """Contracts the last axes of x with the first of w, `contracted` of them, as one product of two matrices.

    The same sum written over three axes runs at half the speed on a CPU, where XLA then leaves its matrix library.
    """
    size = math.prod(w.shape[:contracted])
    flat = x.reshape(-1, size) @ w.reshape(size, -1)
    return flat.reshape(*x.shape[: x.ndim - contracted], *w.shape[contracted:])


def rms_norm(x: jax.Array, gain: jax.Array, eps: float) -> jax.Array:
    """RMSNorm over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467, eq. 4), in at least float32."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + eps)
    return (wide * scale * gain).astype(x.dtype)


def layer_norm(x: jax.Array, gain: jax.Array, bias: jax.Array, eps: float) -> jax.Array:
    """LayerNorm over the last axis (Ba et al. 2016, arXiv 1607.06450, eq. 4), in at least float32."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + eps)
    return (centred * scale * gain + bias).astype(x.dtype)


def rope_tables(length: int, head_dim: int, rope_dim: int, theta: float, dtype: jnp.dtype) -> tuple:
    """cos and sin [T, K] of rotary positions (Su et al. 2021, arXiv 2104.09864, eq. 34).

    A head longer than `rope_dim` repeats the table, block after block: a widened head turns like the one it copies.
    Computed on the host in float64, so that the table is a constant of the program.
    """
    half = rope_dim // 2
    angles = np.arange(length)[:, None] * theta ** (-np.arange(half) / half)
    table = np.tile(np.concatenate([angles, angles], axis=1), (1, head_dim // rope_dim))
    return jnp.asarray(np.cos(table), dtype), jnp.asarray(np.sin(table), dtype)


def rotate(x: jax.Array, cos_TK: jax.Array, sin_TK: jax.Array, rope_dim: int) -> jax.Array:
    """Rotary positions on x [B, T, ..., K]: pairs (i, i + rope_dim/2) inside each block of `rope_dim`."""
    middle = (1,) * (x.ndim - 3)
    cos = cos_TK.reshape(cos_TK.shape[0], *middle, -1)
    sin = sin_TK.reshape(sin_TK.shape[0], *middle, -1)
    blocks = x.reshape(*x.shape[:-1], -1, 2, rope_dim // 2)
    turned = jnp.stack([-blocks[..., 1, :], blocks[..., 0, :]], axis=-2).reshape(x.shape)
    return x * cos + turned * sin


def causal_attention(q_BTGRK: jax.Array, k_BSGK: jax.Array, v_BSGK: jax.Array) -> jax.Array:
    """Grouped-query causal attention (Ainslie et al. 2023, arXiv 2305.13245), softmax in at least float32.

    Returns [B, T, G, R, K]. Scores are divided by sqrt(K).
    """
    scores = jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, k_BSGK) * (q_BTGRK.shape[-1] ** -0.5)
    length = scores.shape[-1]
    seen = jnp.tril(jnp.ones((length, length), jnp.bool_))
    wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    weights = jax.nn.softmax(jnp.where(seen, wide, -jnp.inf), axis=-1).astype(v_BSGK.dtype)
    return jnp.einsum("bgrts,bsgk->btgrk", weights, v_BSGK)


def dropout(x: jax.Array, rate: float, *, key: jax.Array) -> jax.Array:
    """Inverted dropout on x [..., D]: an entry is kept where its 16 random bits are at least `round(rate * 65536)`.

    The low halves of 32-bit words [..., ceil(D / 2)] serve the first entries, the high halves the rest. Kept entries
    are divided by the exact share kept, so the expectation is x to rounding.
    """
    threshold = round(rate * 65536)
    features = x.shape[-1]
    words = jax.random.bits(key, (*x.shape[:-1], (features + 1) // 2), jnp.uint32)
    halves = jnp.concatenate([words & 0xFFFF, words >> 16], axis=-1)[..., :features]
    return jnp.where(halves >= threshold, x * (65536 / (65536 - threshold)), jnp.zeros_like(x))
