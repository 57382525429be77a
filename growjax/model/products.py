"""Products of matrices: the one place where the model multiplies them, and how their derivatives are laid out.

A CPU's matrix library is at its best where both factors lie row by row, and at half of it where a long factor is read
across. So derivatives here copy the smaller factor into the order wanted, and multiply then.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """[..., M, K] times [..., K, N]. Every matrix product of the model is this one."""
    return jnp.matmul(a, b)


def turned(x: jax.Array) -> jax.Array:
    """The last two axes exchanged; on a CPU in memory too, elsewhere as the compiler likes."""
    return jax.lax.platform_dependent(x, cpu=_moved, default=lambda x: jnp.swapaxes(x, -1, -2))


ROWS = 32
"""Rows of a long matrix that are turned at a time, so that what is read stays in the nearest cache."""


def _moved(x: jax.Array) -> jax.Array:
    """Without barriers XLA would hide the exchange in a slower product."""
    barrier = jax.lax.optimization_barrier
    if x.ndim > 2 or len(x) <= ROWS or len(x) % ROWS:
        return barrier(jnp.swapaxes(barrier(x), -1, -2))

    def some(number: jax.Array, out: jax.Array) -> jax.Array:
        rows = jax.lax.dynamic_slice_in_dim(x, number * ROWS, ROWS)
        return jax.lax.dynamic_update_slice_in_dim(out, rows.T, number * ROWS, 1)

    return jax.lax.fori_loop(0, len(x) // ROWS, some, jax.lax.empty(x.shape[::-1], x.dtype))


def across(a: jax.Array, b: jax.Array) -> jax.Array:
    """[..., K, M] and [..., K, N] to [..., M, N], contracted over the long K: the narrower of the two is turned."""
    if a.shape[-1] <= b.shape[-1]:
        return product(turned(a), b)
    return turned(product(turned(b), a))


def after(x: jax.Array, *done: jax.Array) -> jax.Array:
    """x, which a CPU comes to when all of `done` are computed. NaN where the first entry of one of them is.

    XLA orders its work by data alone, barriers or not: it would put off the gradients of all weights, or take up early
    what a derivative computes again, and keep in memory what both need.
    """
    return jax.lax.platform_dependent(x, *done, cpu=_once, default=lambda x, *_: x)


def _once(x: jax.Array, *done: jax.Array) -> jax.Array:
    firsts = [other.reshape(-1)[0] for other in done]
    ones = [jnp.where(first == first, 1, jnp.nan).astype(x.dtype) for first in firsts]  # a NaN is not itself
    return x * math.prod(ones)


@jax.custom_vjp
def linear(x: jax.Array, *weights: jax.Array) -> tuple[jax.Array, ...]:
    """[N, I] times each of [I, O], with derivatives that read long factors in the order in which they lie."""
    return tuple(product(x, w) for w in weights)


def _narrows(w: jax.Array) -> bool:
    return w.shape[0] > w.shape[1]


def _linear_forward(x: jax.Array, *weights: jax.Array) -> tuple[tuple[jax.Array, ...], tuple]:
    # Of x and g the narrower is turned; x at once, while the cache holds it, and for all weights.
    plain = x if any(_narrows(w) for w in weights) else None
    laid = None if all(_narrows(w) for w in weights) else turned(x)
    return linear(x, *weights), (plain, laid, weights)


def _linear_backward(saved: tuple, gs: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    plain, laid, weights = saved
    dx = functools.reduce(jnp.add, [product(g, jnp.swapaxes(w, 0, 1)) for g, w in zip(gs, weights, strict=True)])
    dws = [across(plain, g) if _narrows(w) else product(laid, g) for g, w in zip(gs, weights, strict=True)]
    return after(dx, *dws), *dws


linear.defvjp(_linear_forward, _linear_backward)


def project(x: jax.Array, w: jax.Array, contracted: int = 1) -> jax.Array:
    """Contracts the last axes of x with the first of w, `contracted` of them, as one product of two matrices.

    The same sum written over three axes runs at half the speed on a CPU, where XLA then leaves its matrix library.
    """
    return project_each(x, w, contracted=contracted)[0]


def project_each(x: jax.Array, *weights: jax.Array, contracted: int = 1) -> list[jax.Array]:
    """`project` of x by each of the weights."""
    size = math.prod(weights[0].shape[:contracted])
    flat = linear(x.reshape(-1, size), *(w.reshape(size, -1) for w in weights))
    kept = x.shape[: x.ndim - contracted]
    return [made.reshape(*kept, *w.shape[contracted:]) for made, w in zip(flat, weights, strict=True)]
