"""Windows of tokens, and which of them a step trains on: a pure function of a key, or of the step alone."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from growjax.data.tokens import n_windows


def as_windows(tokens: np.ndarray, seq_len: int) -> np.ndarray:
    """[N, seq_len + 1] on the host, from uint16 or uint32 [n]: stride `seq_len`, N = `n_windows(n, seq_len)`.

    The dtype stays. Tokens after the last whole window are left out.
    """
    count = n_windows(len(tokens), seq_len)
    if count == 0:
        return np.empty((0, seq_len + 1), tokens.dtype.newbyteorder("="))
    views = np.lib.stride_tricks.sliding_window_view(tokens, seq_len + 1)[::seq_len]
    return np.ascontiguousarray(views[:count], dtype=tokens.dtype.newbyteorder("="))


def coprime_near(target: float, n: int) -> int:
    """The whole number nearest to `target`, from 1 to n - 1 (1 for n <= 2), that shares no divisor with n >= 1."""
    at = min(max(round(target), 1), max(n - 1, 1))
    for away in range(n + 1):
        for candidate in (at + away, at - away):
            if 1 <= candidate <= max(n - 1, 1) and math.gcd(candidate, n) == 1:
                return candidate
    raise ValueError(f"n is {n}")


def window_ids(
    step: jax.Array | int,
    batch_size: int,
    n_windows: int,
    *,
    key: jax.Array | None = None,
    order: jax.Array | int = 0,
) -> jax.Array:
    """int32[batch_size], which windows step `step` uses. Pure, and may be traced over `step`, `key` and `order`.

    With a typed PRNG key (that of this one step, used for nothing else): independent draws, uniform from 0 to
    `n_windows` - 1; `step` is then not used. Without: fixed order number `order` (0 to `n_windows` - 1, all distinct),
    in which any `n_windows` consecutive places hold every window once. Raises ValueError where there is no window,
    or where 64-bit numbers are off.
    """
    if not 1 <= n_windows < 2**31:
        raise ValueError(f"n_windows is {n_windows}")
    if key is not None:
        return jax.random.randint(key, (batch_size,), 0, n_windows, dtype=jnp.int32)
    if not jax.config.read("jax_enable_x64"):
        raise ValueError("fixed orders need 64-bit numbers (JAX_ENABLE_X64)")
    # the second stride is no multiple of golden-section steps, so another order is no short delay of this one
    stride = coprime_near(n_windows * 0.6180339887498949, n_windows)
    n = jnp.uint64(n_windows)
    other = jnp.uint64(coprime_near(n_windows * 0.7548776662466927, n_windows))
    start = (jnp.asarray(order).astype(jnp.uint64) % n) * other % n
    place = jnp.asarray(step).astype(jnp.uint64) * jnp.uint64(batch_size) + jnp.arange(batch_size, dtype=jnp.uint64)
    # both factors are below 2**31, so nothing overflows
    return ((start + jnp.uint64(stride) * (place % n)) % n).astype(jnp.int32)


def batch_at(windows: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inputs and targets, int32[B, T] each, targets one ahead, from windows uint16 or uint32 [N, T + 1] and ids
    int32[B]."""
    rows = jnp.take(windows, ids, axis=0, mode="clip").astype(jnp.int32)
    return rows[:, :-1], rows[:, 1:]
