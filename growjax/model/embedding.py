"""Looking up rows of a table, with a derivative that each platform computes in its own way."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from growjax.model.platforms import by_platform
from growjax.model.products import product

ONE_HOT = 1 << 27
"""Entries of the one-hot matrix that are held at a time, about."""


def look_up(table_VD: jax.Array, tokens: jax.Array) -> jax.Array:
    """Rows [..., D] of a table for tokens int32 [...], which may count from the end.

    The gradient of a table is the sum of the rows' gradients by token. A CPU adds them one by one (a scatter). A GPU
    would do that with atomics, in any order, or under its deterministic flag sort every entry of the gradient first.
    So other platforms multiply by the one-hot matrix of the tokens: a product, whose order of sums is fixed.
    """
    vocab = table_VD.shape[0]
    rows = lax.select(tokens < 0, tokens + vocab, tokens)
    return _look_up(vocab, table_VD, rows[..., None])


def _gather(table_VD: jax.Array, rows: jax.Array) -> jax.Array:
    offset = rows.ndim - 1
    numbers = lax.GatherDimensionNumbers(offset_dims=(offset,), collapsed_slice_dims=(0,), start_index_map=(0,))
    sizes = (1, table_VD.shape[1])
    return lax.gather(table_VD, rows, numbers, sizes, mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _look_up(vocab: int, table_VD: jax.Array, rows: jax.Array) -> jax.Array:
    return _gather(table_VD, rows)


def _forward(vocab: int, table_VD: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _gather(table_VD, rows), rows


def _backward(vocab: int, rows: jax.Array, g: jax.Array) -> tuple[jax.Array, None]:
    scattered, multiplied = partial(_by_scatter, vocab), partial(gradient_by_product, vocab)
    return by_platform(rows, g, cpu=scattered, other=multiplied), None


_look_up.defvjp(_forward, _backward)


def _by_scatter(vocab: int, rows: jax.Array, g: jax.Array) -> jax.Array:
    table = jax.ShapeDtypeStruct((vocab, g.shape[-1]), g.dtype)
    return jax.linear_transpose(lambda t: _gather(t, rows), table)(g)[0]


def gradient_by_product(vocab: int, rows: jax.Array, g: jax.Array) -> jax.Array:
    """[V, D] from rows int32 [..., 1] and gradients [..., D]: the transposed one-hot matrix times g.

    A one-hot matrix of all tokens may not fit, so it is made for as many tokens at a time as `ONE_HOT` allows, and
    the products are added in order, in at least float32.
    """
    tokens, g_ND = rows.reshape(-1), g.reshape(-1, g.shape[-1])
    count = -(-len(tokens) * vocab // ONE_HOT)
    size = -(-len(tokens) // count)
    wide = jnp.promote_types(g.dtype, jnp.float32)

    def some(tokens: jax.Array, g: jax.Array) -> jax.Array:
        hit = tokens[None, :] == jnp.arange(vocab, dtype=tokens.dtype)[:, None]
        return product(hit.astype(g.dtype), g)

    if count == 1:
        return some(tokens, g_ND)
    lacking = count * size - len(tokens)
    tokens = jnp.pad(tokens, (0, lacking), constant_values=vocab)  # a token that is no row's
    parts = (tokens.reshape(count, size), jnp.pad(g_ND, ((0, lacking), (0, 0))).reshape(count, size, -1))
    total = jnp.zeros((vocab, g.shape[-1]), wide)
    total, _ = lax.scan(lambda total, part: (total + some(*part).astype(wide), None), total, parts)
    return total.astype(g.dtype)
