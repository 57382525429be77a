"""All randomness: keys derived by name, root -> stream -> step -> site.

A key is derived where it is used, and used once. The draws of one stream never depend on another's, so a stream can
be added, or its replicate exchanged, and every other draw stays as it was. Only typed threefry keys are taken.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import get_args

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl, threefry2x32_p

from growjax.domains import COUNT, SEED, Purpose
from growjax.errors import UserError, require
from growjax.values import Name, shown, taken

STREAMS = ("init", "order", "dropout", "perturb", "structure", "bootstrap")
"""Every stream there is, in the order in which pages list them. The tokenizer has none: it draws nothing."""


def name_tag(name: str) -> int:
    """The 32-bit number that stands for a stream's or a site's name: the first bytes of its SHA-256."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def root_key(seed: int, purpose: Purpose = "source") -> jax.Array:
    """The root of all keys of a seed for one purpose, to train a `source`, or to `study` it (widening included): a
    typed threefry key.

    A source and a study of the same seed share no key. Raises `UserError` for a seed that is not from 0 to
    `growjax.values.MOST_SEED`, or another purpose.
    """
    seed, purpose = taken(SEED, seed, "seed"), taken(Name(get_args(Purpose)), purpose, "purpose")
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), name_tag(purpose))


def at_step(stream_key: jax.Array, step: jax.Array | int) -> jax.Array:
    """A stream's key at one step."""
    return jax.random.fold_in(stream_key, jnp.asarray(step, jnp.uint32))


def at_site(step_key: jax.Array, site: str, index: jax.Array | int = 0) -> jax.Array:
    """A step's key at one site (a place in the program that draws), and its index where the site repeats."""
    return jax.random.fold_in(jax.random.fold_in(step_key, name_tag(site)), jnp.asarray(index, jnp.uint32))


def checked_key(key: object) -> jax.Array:
    """The key itself. Raises `UserError` where it is no typed threefry key, or several."""
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise UserError("a typed key is needed, not a number or a raw array", "give root_key(seed)")
    if key.shape != () or str(key.dtype) != _KEY:
        raise UserError(f"one key of threefry is needed, not {key.dtype}{list(key.shape)}", "give root_key(seed)")
    return key


_KEY = "key<fry>"
"""How jax calls the dtype of a threefry key."""


def _words_from(key: jax.Array, bit_width: int, shape: Sequence[int]) -> jax.Array:
    """The words of `jax.random.bits` where threefry is partitionable, from a later counter on."""
    if bit_width not in (32, 64):
        raise ValueError(f"threefry makes words of 32 or 64 bits, not of {bit_width}")
    start = (key[2].astype(jnp.uint64) << 32) | key[3].astype(jnp.uint64)
    counter = start + jax.lax.iota(jnp.uint64, math.prod(shape)).reshape(shape)
    high, low = threefry2x32_p.bind(key[0], key[1], (counter >> 32).astype(jnp.uint32), counter.astype(jnp.uint32))
    return (high.astype(jnp.uint64) << 32) | low.astype(jnp.uint64) if bit_width == 64 else high ^ low


def _no_more(*given: object) -> jax.Array:
    raise TypeError("a key that starts at a later counter is for draws alone")


_FROM = define_prng_impl(
    key_shape=(4,), seed=_no_more, split=_no_more, fold_in=_no_more, random_bits=_words_from,
    name="threefry2x32 from a counter", tag="fryc",
)  # fmt: skip


def normals_from(key: jax.Array, shape: Sequence[int], dtype: jax.typing.DTypeLike, start: int = 0) -> jax.Array:
    """Standard normals from number `start` on: what `jax.random.normal` gives for a larger array, flat, at `start` and
    the following positions. The key is a typed threefry key, and `jax_threefry_partitionable` is on.

    >>> from growjax.streams import normals_from, root_key
    >>> whole = jax.random.normal(root_key(0), (4, 3), "float32")
    >>> bool((normals_from(root_key(0), (2, 3), "float32", start=6) == whole[2:]).all())
    True
    """
    if start:
        counter = jnp.asarray([start >> 32, start & 0xFFFFFFFF], jnp.uint32)
        key = jax.random.wrap_key_data(jnp.concatenate([jax.random.key_data(key), counter]), impl=_FROM)
    return jax.random.normal(key, tuple(shape), dtype)


class Streams:
    """The named streams below one root key.

    >>> from growjax.streams import Streams, root_key
    >>> Streams(root_key(0)).at("dropout", 3).dtype
    key<fry>
    """

    def __init__(self, root: jax.Array, exchanged: Mapping[str, int] | None = None):
        """`exchanged` gives streams by name the randomness of a replicate; every other stream keeps its own. Raises
        `UserError` for what is no typed threefry key, no stream or no replicate."""
        self.root = checked_key(root)
        self.exchanged = {name: taken(COUNT, number, "replicate") for name, number in (exchanged or {}).items()}
        for name in self.exchanged:
            require(name in STREAMS, f"no stream is named {name!r}", f"choose among {', '.join(STREAMS)}")

    def stream(self, name: str) -> jax.Array:
        """The key of a whole stream; every stream has a name of its own."""
        if name not in STREAMS:
            raise UserError(f"no stream is named {shown(name)}", f"choose among {', '.join(STREAMS)}")
        hung = Streams(self.root).replicate(self.exchanged[name]) if name in self.exchanged else self
        return jax.random.fold_in(hung.root, name_tag(name))

    def at(self, name: str, step: jax.Array | int) -> jax.Array:
        """The key of a stream at one step."""
        return at_step(self.stream(name), step)

    def replicate(self, index: int) -> Streams:
        """Streams of a replicate, from 0 to `growjax.values.MOST`: other draws in all of them, from the same seed."""
        index = taken(COUNT, index, "replicate")
        return Streams(jax.random.fold_in(jax.random.fold_in(self.root, name_tag("replicate")), index))

    def part(self, index: int) -> Streams:
        """Streams of the parts that change a candidate, other than the operator's own and than each other's."""
        return Streams(jax.random.fold_in(jax.random.fold_in(self.root, name_tag("part")), index), self.exchanged)
