"""Digests of trees: one on the host that names a state for good, one inside jit that is cheap enough for every step.

`digest` is SHA-256 over every leaf's path, dtype, shape and little-endian bytes, in path order. `quick_digest` is a
pair of sums modulo 2^32 of mixed words; a sum of integers has no order, so any parallel reduction gives it exactly.
"""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def leaf_bytes(leaf: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Dtype name, shape and little-endian bytes of one leaf; a typed key gives its raw words."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = np.asarray(jax.random.key_data(leaf))
        return f"key<{jax.random.key_impl(leaf)}>", leaf.shape, data.astype("<u4").tobytes()
    array = np.asarray(leaf)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes()


def digest(tree: Any) -> str:
    """SHA-256, in hexadecimal, over (path, dtype, shape, bytes) of every leaf in path order."""
    leaves = [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
    total = hashlib.sha256()
    for path, leaf in sorted(leaves, key=lambda pair: pair[0]):
        dtype, shape, data = leaf_bytes(leaf)
        for part in (path.encode(), dtype.encode(), repr(shape).encode()):
            total.update(len(part).to_bytes(8, "little") + part)
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def _words(leaf: jax.Array) -> jax.Array:
    """The bits of a leaf as a flat uint32 array."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.dtype == jnp.bool_:
        return leaf.reshape(-1).astype(jnp.uint32)
    size = leaf.dtype.itemsize
    if size < 4:
        return jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{8 * size}")).reshape(-1).astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(-1)


def _mix(x: jax.Array) -> jax.Array:
    """A bijection of uint32 that no linear map equals (the finaliser of MurmurHash3, by A. Appleby)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def quick_digest(tree: Any) -> jax.Array:
    """uint32[2]: position-aware, order-free digest of all leaves, for use inside jit.

    Word i of leaf n contributes mix(mix(word ^ mix(i + salt_n)) + salt), once for each of two salts.
    """
    sums = [jnp.uint32(0), jnp.uint32(0)]
    for n, leaf in enumerate(jax.tree.leaves(tree)):
        words = _words(leaf)
        place = _mix(jnp.arange(words.size, dtype=jnp.uint32) + jnp.uint32((n + 1) * 0x9E3779B9 & 0xFFFFFFFF))
        mixed = _mix(words ^ place)
        sums[0] = sums[0] + jnp.sum(mixed, dtype=jnp.uint32)
        sums[1] = sums[1] + jnp.sum(_mix(mixed + jnp.uint32(0x6A09E667)), dtype=jnp.uint32)
    return jnp.stack(sums)


def quick_hex(words: np.ndarray) -> str:
    """The text of a `quick_digest`: 16 hexadecimal digits."""
    return "".join(f"{int(word):08x}" for word in np.asarray(words, np.uint32).reshape(-1))
