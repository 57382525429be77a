"""Threefry-2x32 and the distributions of jax.random, in plain NumPy. Imports no jax, and shares no code with training.

The block function is that of Salmon, Moraes, Dror & Shaw 2011 ("Parallel random numbers: as easy as 1, 2, 3", section
4.2; 20 rounds). How keys, counters and values follow from it is as jax.random defines it where
`jax_threefry_partitionable` is on: word i of an array is the block of counter i under the key, its two halves joined by
exclusive or (one after the other for 64 bits).
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Key = tuple[int, int]
"""A key's two 32-bit words."""

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_CHUNK = 1 << 14
"""Counters at a time: what fits into a core's own cache."""

NORMAL_ULPS = {"float32": 4, "float64": 32}
"""How far a normal of jax.random may lie from the one derived here (see `normal_distance`). The uniform u it comes from
is exact; the inverse error function is XLA's polynomial there (Giles 2010) and SciPy's here. Over four million draws of
three seeds the largest distances were 2.0 and 13.8."""


def _rotated(x: np.ndarray, by: int) -> np.ndarray:
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


Word = np.ndarray | np.uint32
Pair = tuple[ArrayLike, ArrayLike]
"""Two words, or two arrays of words."""


def _block(k0: Word, k1: Word, x0: np.ndarray, x1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keys = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for group in range(5):
        for by in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = _rotated(x1, by) ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def threefry2x32(key: Pair, counter: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Two uint32 arrays from a key (a pair of words, or of arrays of words) and a counter (likewise), broadcast."""
    words = [np.asarray(word, np.uint32) for word in (*key, *counter)]
    k0, k1, x0, x1 = np.broadcast_arrays(*words)
    shape = x0.shape
    flat = [np.ascontiguousarray(word).reshape(-1) for word in (k0, k1, x0, x1)]
    out = np.empty((2, flat[0].size), np.uint32)
    for start in range(0, flat[0].size, _CHUNK):
        part = slice(start, start + _CHUNK)
        out[0, part], out[1, part] = _block(*(word[part] for word in flat))
    return out[0].reshape(shape), out[1].reshape(shape)


def seed_key(seed: int) -> Key:
    """The key of a seed: its high and its low 32 bits."""
    return (seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF


def fold_in(key: Pair, data: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The key (or, of arrays of words, keys) below `key` under a 32-bit number: the block of counter (0, data)."""
    return threefry2x32(key, (np.uint32(0), np.asarray(data, np.uint32)))


def as_key(words: Any) -> Key:
    """One key as a pair of plain numbers."""
    return int(words[0]), int(words[1])


def split(key: Key, count: int = 2) -> list[Key]:
    """`count` keys below one: key i is the block of counter i."""
    high, low = threefry2x32(key, (np.zeros(count, np.uint32), np.arange(count, dtype=np.uint32)))
    return [as_key(pair) for pair in zip(high, low, strict=True)]


def name_tag(name: str) -> int:
    """The number that stands for a name: the first four bytes of its SHA-256, little-endian."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def random_bits(key: Key, width: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random words of `width` bits (8, 16, 32 or 64) in an array of that shape (under 2**32 entries)."""
    size = math.prod(shape)
    out = np.empty(size, np.dtype(f"uint{width}"))
    k0, k1 = np.uint32(key[0]), np.uint32(key[1])
    for start in range(0, size, _CHUNK):
        low = np.arange(start, min(start + _CHUNK, size), dtype=np.uint32)
        with np.errstate(over="ignore"):
            x0, x1 = _block(k0, k1, np.zeros_like(low), low)
        part = slice(start, start + len(low))
        if width == 64:
            out[part] = (x0.astype(np.uint64) << np.uint64(32)) | x1
        else:
            out[part] = (x0 ^ x1).astype(out.dtype)
    return out.reshape(shape)


def uniform(key: Key, shape: tuple[int, ...], dtype: str, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Uniform values from `low` to below `high`: random mantissas under the exponent of 1, shifted and scaled."""
    kind = np.dtype(dtype).type
    info = np.finfo(kind)
    words = random_bits(key, info.bits, shape)
    mantissas = (words >> words.dtype.type(info.bits - info.nmant)) | np.asarray(1, kind).view(words.dtype)
    lowest, highest = kind(low), kind(high)
    return np.maximum(lowest, (mantissas.view(kind) - kind(1)) * (highest - lowest) + lowest)


def normal(key: Key, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Standard normals: sqrt(2) times the inverse error function of uniforms from just above -1 to 1.

    Within `NORMAL_ULPS` of jax.random's, as `normal_distance` measures.
    """
    from scipy.special import erfinv

    kind = np.dtype(dtype).type
    u = uniform(key, shape, dtype, np.nextafter(kind(-1), kind(0)), 1.0)
    return (np.sqrt(2) * erfinv(u.astype(np.float64))).astype(kind)


def randint(key: Key, shape: tuple[int, ...], low: int, high: int, dtype: str = "int32") -> np.ndarray:
    """int32 or int64 from `low` to below `high`: two random words, modulo the span in arithmetic that wraps."""
    width = np.dtype(dtype).itemsize * 8
    unsigned = np.dtype(f"uint{width}")
    first, second = split(key)
    span = np.asarray([(high - low) % 2**width]).astype(unsigned)
    half = np.asarray([1 << width // 2], unsigned) % span
    upper, lower = (random_bits(k, width, shape) % span for k in (first, second))
    offset = (upper * (half * half % span) + lower) % span
    return (offset.astype(np.int64) + low).astype(dtype)


def permutation(key: Key, size: int) -> np.ndarray:
    """A permutation of 0 to size - 1: sorted by random words, so often that equal ones can be left out of account."""
    order = np.arange(size)
    for _ in range(math.ceil(3 * math.log(max(1, size)) / math.log(2**32 - 1))):
        key, below = split(key)
        order = order[np.argsort(random_bits(below, 32, (size,)), kind="stable")]
    return order


def dropout_mask(words: np.ndarray, features: int, rate: float) -> np.ndarray:
    """bool [..., features], true where an entry is kept, from uint64 words [..., ceil(features / 4)]: the lowest 16
    bits of all words, then the next, each kept where it is at least `rate` times 65536, rounded."""
    quarters = [words >> np.uint64(shift) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)]
    return np.concatenate(quarters, axis=-1)[..., :features] >= np.uint64(round(rate * 65536))


def normal_distance(found: np.ndarray, key: Key) -> float:
    """The largest distance of normals found from those derived from `key`, in units in the last place of the latter.

    Divided by 1 + u^2 / ((1 - u^2) w), w = -ln(1 - u^2): what a rounding of u^2 becomes on its way to sqrt(w), which
    grows without bound in the tails and is no fault of either side.
    """
    if not found.size:
        return 0.0
    derived, kind = normal(key, found.shape, found.dtype.name), found.dtype.type
    u = uniform(key, found.shape, found.dtype.name, np.nextafter(kind(-1), kind(0)), 1.0).astype(np.longdouble)
    square = np.maximum(u * u, np.finfo(np.float64).tiny)
    carried = 1 + square / ((1 - square) * -np.log1p(-square))
    apart = np.abs(found.astype(np.longdouble) - derived) / np.spacing(np.abs(derived))
    return float((apart / carried).max())
