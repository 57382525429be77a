"""The vocabulary projection with its loss: chunk by chunk, so that no array of tokens times vocabulary is kept.

The loss is one number, so its derivative is known up to a factor when its value is: both are computed in one pass.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from growjax.model.caps import capped, under_cap
from growjax.model.platforms import by_platform
from growjax.model.products import across, product, turned

CHUNK = 1 << 19
"""Logits at a time on a CPU, about: few enough to stay in its cache, many enough for its matrix library."""

CHUNK_ELSEWHERE = 1 << 26
"""Logits at a time on other platforms, about: each chunk is a round of launches, and 2^26 logits in float32 take 256
MiB."""


def _rows_at_a_time(rows: int, vocab: int, chunk: int) -> int:
    return min(rows, max(128, chunk // vocab // 128 * 128))


def _powers(
    x_ND: jax.Array, head_DV: jax.Array, targets_N: jax.Array, cap: float | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """(exp(logits - largest) [N, V], its sums [N, 1], negative log-likelihoods [N], logits [N, V]), in at least
    float32."""
    logits = product(x_ND, head_DV)
    logits = capped(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), cap)
    largest = jnp.max(logits, axis=-1, keepdims=True)
    powers = jax.lax.optimization_barrier(jnp.exp(logits - largest))  # computed once, not again in the sum
    total = jnp.sum(powers, axis=-1, keepdims=True)
    of_target = jnp.take_along_axis(logits, targets_N[:, None], axis=-1)
    return powers, total, (largest + jnp.log(total) - of_target)[:, 0], logits


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def mean_loss(x_ND: jax.Array, head_VD: jax.Array, targets_N: jax.Array, cap: float | None = None) -> jax.Array:
    """Mean negative log-likelihood in nats per token, at least float32, of logits x head', under a soft cap if there is
    one."""
    value, elsewhere = partial(_value, cap=cap), partial(_value_elsewhere, cap=cap)
    return by_platform(x_ND, head_VD, targets_N, cpu=value, other=elsewhere)


def _value(x_ND: jax.Array, head_VD: jax.Array, targets_N: jax.Array, *, cap: float | None = None) -> jax.Array:
    head_DV = turned(head_VD)

    def one(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + jnp.sum(_powers(part[0], head_DV, part[1], cap)[2]), None

    start = jnp.zeros((), jnp.promote_types(x_ND.dtype, jnp.float32))
    return _over_chunks(one, start, x_ND, targets_N, _rows_at_a_time(len(x_ND), len(head_VD), CHUNK))[0] / len(x_ND)


def _forward(x_ND: jax.Array, head_VD: jax.Array, targets_N: jax.Array, cap: float | None) -> tuple[jax.Array, tuple]:
    both, elsewhere = partial(_both, cap=cap), partial(_both_elsewhere, cap=cap)
    return by_platform(x_ND, head_VD, targets_N, cpu=both, other=elsewhere)


def _both(
    x_ND: jax.Array, head_VD: jax.Array, targets_N: jax.Array, *, cap: float | None = None
) -> tuple[jax.Array, tuple]:
    head_DV = turned(head_VD)
    wide = jnp.promote_types(x_ND.dtype, jnp.float32)

    def one(carry: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]) -> tuple:
        x, targets = part
        total, dhead_DV = carry
        powers, sums, losses, logits = _powers(x, head_DV, targets, cap)
        hit = targets[:, None] == jnp.arange(powers.shape[1], dtype=targets.dtype)
        dlogits = jax.lax.optimization_barrier(under_cap(powers * (1 / sums) - hit, logits, cap).astype(x.dtype))
        dhead = across(x, dlogits)
        return (total + jnp.sum(losses), dhead_DV + dhead), product(dlogits, head_VD)

    start = (jnp.zeros((), wide), jnp.zeros(head_DV.shape, wide))
    size = _rows_at_a_time(len(x_ND), len(head_VD), CHUNK)
    (total, dhead_DV), dx_ND = _over_chunks(one, start, x_ND, targets_N, size)
    return total / len(x_ND), (dx_ND, turned(dhead_DV).astype(head_VD.dtype))


def _logits(x_ND: jax.Array, head_VD: jax.Array, targets_N: jax.Array, cap: float | None) -> tuple[jax.Array, ...]:
    """(logits [N, V], logarithms of their sums of exponentials [N, 1], where the target is [N, V])."""
    logits = product(x_ND, head_VD.T)
    logits = capped(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), cap)
    hit = targets_N[:, None] == jnp.arange(logits.shape[1], dtype=targets_N.dtype)
    return logits, jax.nn.logsumexp(logits, axis=-1, keepdims=True), hit


def _losses(logits: jax.Array, level: jax.Array, hit: jax.Array) -> jax.Array:
    """Their sum; the target's logit as a sum too, since a GPU would gather it in a launch of its own."""
    return jnp.sum(level[:, 0] - jnp.sum(jnp.where(hit, logits, 0), axis=-1))


def _value_elsewhere(
    x_ND: jax.Array, head_VD: jax.Array, targets_N: jax.Array, *, cap: float | None = None
) -> jax.Array:
    def one(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + _losses(*_logits(part[0], head_VD, part[1], cap)), None

    start = jnp.zeros((), jnp.promote_types(x_ND.dtype, jnp.float32))
    size = _rows_at_a_time(len(x_ND), len(head_VD), CHUNK_ELSEWHERE)
    return _over_chunks(one, start, x_ND, targets_N, size)[0] / len(x_ND)


def _both_elsewhere(
    x_ND: jax.Array, head_VD: jax.Array, targets_N: jax.Array, *, cap: float | None = None
) -> tuple[jax.Array, tuple]:
    """As `_both`, with the order in memory left to the compiler."""
    wide = jnp.promote_types(x_ND.dtype, jnp.float32)

    def one(carry: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]) -> tuple:
        (total, dhead_VD), (x, targets) = carry, part
        logits, level, hit = _logits(x, head_VD, targets, cap)
        dlogits = under_cap(jnp.exp(logits - level) - hit, logits, cap).astype(x.dtype)
        added = dhead_VD + product(dlogits.T, x)
        return (total + _losses(logits, level, hit), added), product(dlogits, head_VD)

    start = (jnp.zeros((), wide), jnp.zeros(head_VD.shape, wide))
    size = _rows_at_a_time(len(x_ND), len(head_VD), CHUNK_ELSEWHERE)
    (total, dhead_VD), dx_ND = _over_chunks(one, start, x_ND, targets_N, size)
    return total / len(x_ND), (dx_ND, dhead_VD.astype(head_VD.dtype))


def _backward(cap: float | None, saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple:
    dx_ND, dhead_VD = saved
    share = g / len(dx_ND)
    return (dx_ND * share).astype(dx_ND.dtype), (dhead_VD * share).astype(dhead_VD.dtype), None


def _over_chunks(one, carry, x_ND: jax.Array, targets_N: jax.Array, size: int):
    """Scans the rows in chunks of `size`, a shorter one last where they do not divide."""
    rows = len(x_ND)
    count, whole = rows // size, rows // size * size
    parts = (x_ND[:whole].reshape(count, size, -1), targets_N[:whole].reshape(count, size))
    carry, made = jax.lax.scan(one, carry, parts)
    made = None if made is None else made.reshape(whole, -1)
    if whole < rows:
        carry, rest = one(carry, (x_ND[whole:], targets_N[whole:]))
        made = None if made is None else jnp.concatenate([made, rest])
    return carry, made


mean_loss.defvjp(_forward, _backward)
