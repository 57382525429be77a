"""Digests of trees: one on the host that names a state for good, one inside jit that is cheap enough for every step.

`digest` is SHA-256 over every leaf's path, dtype, shape and little-endian bytes, in path order. `leaf_digests` are
pairs of sums modulo 2^32 of mixed words; a sum of integers has no order, so any parallel reduction gives it exactly.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Words = TypeVar("Words", jax.Array, np.ndarray)


def leaf_bytes(leaf: object) -> tuple[str, tuple[int, ...], bytes]:
    """Dtype name, shape and little-endian bytes of one leaf; a typed key gives its raw words."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = np.asarray(jax.random.key_data(leaf))
        return f"key<{jax.random.key_impl(leaf)}>", leaf.shape, data.astype("<u4").tobytes()
    array = np.asarray(leaf)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes()


def path_name(path: jax.tree_util.KeyPath) -> str:
    """How a leaf's path reads: `params/blocks/wq`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: object) -> list[tuple[str, Any]]:
    """(path, leaf) of every leaf in the tree's own order; a path is as `path_name` has it."""
    return [(path_name(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def digest(tree: object) -> str:
    """SHA-256, in hexadecimal, over (path, dtype, shape, bytes) of every leaf in path order."""
    return digests(tree)[0]


def digest_by_leaf(tree: object) -> dict[str, str]:
    """The digest of every leaf by its path."""
    return digests(tree)[1]


class InParts(NamedTuple):
    """What names a leaf, in parts that are read one at a time."""

    dtype: str
    shape: tuple[int, ...]
    size: int
    """Bytes of all parts."""
    parts: Iterable[bytes | memoryview]
    """Little-endian, one behind the other."""


def at_once(leaf: object) -> InParts:
    """A leaf in one part."""
    dtype, shape, data = leaf_bytes(leaf)
    return InParts(dtype, shape, len(data), (data,))


def digests(tree: object, *, read: Callable[[Any], InParts] = at_once) -> tuple[str, dict[str, str]]:
    """The digest of a tree, and that of every leaf by its path. `read` gives one leaf at a time; no digest depends on
    its parts."""
    of_tree, by_leaf = hashlib.sha256(), {}
    leaves = named_leaves(tree)
    for path, leaf in sorted(leaves, key=lambda pair: pair[0]):
        alone = hashlib.sha256()
        dtype, shape, size, parts = read(leaf)
        named = [path.encode(), dtype.encode(), repr(shape).encode()]
        before = (len(part).to_bytes(8, "little") + part for part in named)
        for part in itertools.chain(before, [size.to_bytes(8, "little")], parts):
            for sha in (of_tree, alone):
                sha.update(part)
        by_leaf[path] = alone.hexdigest()
    return of_tree.hexdigest(), {path: by_leaf[path] for path, _ in leaves}


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


def mix(x: Words) -> Words:
    """A bijection of uint32 that no linear map equals (the finaliser of MurmurHash3, by A. Appleby); for arrays of jax
    and of NumPy."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def salt(leaf: int) -> np.uint32:
    """What is added to the positions of the words of leaf number `leaf`."""
    return np.uint32((leaf + 1) * 0x9E3779B9 & 0xFFFFFFFF)


SECOND = np.uint32(0x6A09E667)
"""What is added to a mixed word before it is mixed again, for the second sum."""


def leaf_digests(tree: object) -> jax.Array:
    """uint32[leaves, 2]: position-aware, order-free digest of every leaf, for use inside jit.

    Word i of leaf n contributes mix(word ^ mix(i + salt_n)) to the first sum, and that mixed once more to the second.
    """
    rows = []
    for n, leaf in enumerate(jax.tree.leaves(tree)):
        words = _words(leaf)
        mixed = mix(words ^ mix(jnp.arange(words.size, dtype=jnp.uint32) + salt(n)))
        second = jnp.sum(mix(mixed + SECOND), dtype=jnp.uint32)
        rows.append(jnp.stack([jnp.sum(mixed, dtype=jnp.uint32), second]))
    return jnp.stack(rows)


def piece_digests(leaf: jax.Array, number: int, shape: Sequence[int], starts: Sequence[jax.Array | int]) -> jax.Array:
    """uint32[2]: what a piece of leaf `number`, an array of that whole shape, adds to its row of `leaf_digests`. The
    piece begins at `starts`, one for each axis. Pieces that make up the whole add up to the row."""
    position, stride = jnp.zeros(leaf.shape, jnp.uint32), 1
    for axis in reversed(range(leaf.ndim)):
        along = jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis) + jnp.asarray(starts[axis], jnp.uint32)
        position, stride = position + along * np.uint32(stride & 0xFFFFFFFF), stride * shape[axis]
    words = _words(leaf)
    each = words.size // leaf.size if leaf.size else 1  # of 8 bytes are two words
    position = position.reshape(-1, 1) * np.uint32(each) + jnp.arange(each, dtype=jnp.uint32)
    mixed = mix(words ^ mix(position.reshape(-1) + salt(number)))
    return jnp.stack([jnp.sum(mixed, dtype=jnp.uint32), jnp.sum(mix(mixed + SECOND), dtype=jnp.uint32)])


def total(leaves: np.ndarray) -> np.ndarray:
    """uint32[..., 2]: the digest of a tree, the sum modulo 2^32 of those of its leaves, uint32[..., leaves, 2]."""
    return np.asarray(np.sum(leaves, axis=-2, dtype=np.uint32))


def words_hex(words: np.ndarray) -> str:
    """Words as text: 8 hexadecimal digits each."""
    return "".join(f"{int(word):08x}" for word in np.asarray(words, np.uint32).reshape(-1))


def words_of(text: str) -> np.ndarray:
    """The inverse of `words_hex` for leaves: uint32[leaves, 2]."""
    return np.array([int(text[i : i + 8], 16) for i in range(0, len(text), 8)], np.uint32).reshape(-1, 2)
