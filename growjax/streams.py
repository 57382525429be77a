"""All randomness: keys derived by name, root -> stream -> step -> site.

A key is derived where it is used, and used once. The draws of one stream never depend on another's, so a stream can
be added, or its replicate exchanged, and every other draw stays as it was. Only typed threefry keys are taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from growjax.domains import COUNT, SEED, taken
from growjax.errors import UserError, require

STREAMS = ("init", "order", "dropout", "perturb", "structure", "bootstrap")
"""Every stream there is, in the order in which pages list them. The tokenizer has none: it draws nothing."""


def name_tag(name: str) -> int:
    """The 32-bit number that stands for a stream's or a site's name: the first bytes of its SHA-256."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def root_key(seed: int, purpose: str = "source") -> jax.Array:
    """The root of all keys of a seed for one purpose (`source` or `study`): a typed threefry key.

    A source and a study of the same seed share no key. Raises `UserError` for a seed that is not from 0 to
    `growjax.domains.MOST_SEED`.
    """
    seed = taken(SEED, seed, "seed")
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), name_tag(purpose))


def at_step(stream_key: jax.Array, step: jax.Array | int) -> jax.Array:
    """A stream's key at one step."""
    return jax.random.fold_in(stream_key, jnp.asarray(step, jnp.uint32))


def at_site(step_key: jax.Array, site: str, index: jax.Array | int = 0) -> jax.Array:
    """A step's key at one site (a place in the program that draws), and its index where the site repeats."""
    return jax.random.fold_in(jax.random.fold_in(step_key, name_tag(site)), jnp.asarray(index, jnp.uint32))


def checked_key(key: object) -> jax.Array:
    """The key itself. Raises `UserError` where it is no typed threefry key, or several."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if not isinstance(key, jax.Array) or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise UserError("a typed key is needed, not a number or a raw array", "give root_key(seed)")
    if shape != () or str(dtype) != _KEY:
        raise UserError(f"one key of threefry is needed, not {dtype}{list(shape or ())}", "give root_key(seed)")
    return key


_KEY = "key<fry>"
"""How jax calls the dtype of a threefry key."""


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
            raise ValueError(f"no stream is named {name!r}: {', '.join(STREAMS)}")
        hung = Streams(self.root).replicate(self.exchanged[name]) if name in self.exchanged else self
        return jax.random.fold_in(hung.root, name_tag(name))

    def at(self, name: str, step: jax.Array | int) -> jax.Array:
        """The key of a stream at one step."""
        return at_step(self.stream(name), step)

    def replicate(self, index: int) -> Streams:
        """Streams of a replicate, from 0 to `growjax.domains.MOST`: other draws in all of them, from the same seed."""
        index = taken(COUNT, index, "replicate")
        return Streams(jax.random.fold_in(jax.random.fold_in(self.root, name_tag("replicate")), index))

    def part(self, index: int) -> Streams:
        """Streams of the parts that change a candidate, other than the operator's own and than each other's."""
        return Streams(jax.random.fold_in(jax.random.fold_in(self.root, name_tag("part")), index), self.exchanged)
