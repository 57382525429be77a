"""An interceptor of running programs: every random word they ask for is served from data, and every key that asks is
noted.

While it watches, the Threefry implementation that jax.random knows is one whose words come from the host, so no key in
any form escapes it: typed, legacy, wrapped from raw words, restored or made inside an operator. Keys are then only
addresses of recorded draws; the program around them is the program as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import jax
import numpy as np

from growjax.audit import draws, threefry
from growjax.audit.draws import Served
from growjax.audit.threefry import Key
from growjax.draws import Ledger, bits_shape, key_hex, width_of
from growjax.errors import UserError
from growjax.schema import Record

THREEFRY = "threefry2x32"

Give = Callable[[Key, int, tuple[int, ...]], np.ndarray]
"""Words of a width and shape for a key."""


def _implementations() -> Record:
    """jax's own table of random implementations by name; raises `UserError` where this jax has no such table."""
    try:
        # There is no public way to exchange an implementation under its own name, and another name would not be met by
        # keys that are made without one.
        from jax._src.random.prng import prngs  # noqa: TID251

        prngs[THREEFRY]._replace(random_bits=prngs[THREEFRY].random_bits)
    except (ImportError, AttributeError, LookupError, TypeError) as error:
        raise _unknown_jax() from error
    return prngs


def _unknown_jax() -> UserError:
    return UserError(
        f"draws cannot be injected under jax {jax.__version__}, whose random implementations lie elsewhere",
        "audit with the jax of requirements.lock, or leave injection out with --inject none",
    )


class Interceptor:
    """Serves words through `give` and notes the keys that asked. One interceptor can watch many runs, one at a time,
    and programs compiled under it serve them all. Raises `UserError` where a draw of this jax would escape it."""

    def __init__(self) -> None:
        self.asked: list[Key] = []
        self._give: Give = lambda key, width, shape: threefry.random_bits(key, width, shape)
        self._implementation = _implementations()[THREEFRY]._replace(random_bits=self._random_bits)
        with self.watching() as asked:
            jax.random.bits(jax.random.wrap_key_data(jax.numpy.zeros(2, "uint32"), impl=THREEFRY)).block_until_ready()
        if asked != [(0, 0)]:
            raise _unknown_jax()

    def _random_bits(self, key: jax.Array, width: int, shape: tuple[int, ...]) -> jax.Array:
        def serve(words: jax.Array) -> np.ndarray:
            asking = threefry.as_key(np.asarray(words))
            self.asked.append(asking)
            return self._give(asking, width, tuple(shape))

        return jax.pure_callback(serve, jax.ShapeDtypeStruct(tuple(shape), np.dtype(f"uint{width}")), key)

    @contextlib.contextmanager
    def watching(self, give: Give | None = None) -> Iterator[list[Key]]:
        """Watches what runs inside the block; gives the keys that asked, in the order in which they did."""
        self.asked = []
        if give is not None:
            self._give = give
        prngs = _implementations()
        kept = prngs[THREEFRY]
        prngs[THREEFRY] = self._implementation
        try:
            yield self.asked
            jax.effects_barrier()
        finally:
            prngs[THREEFRY] = kept


class Recorded:
    """The recorded draws of a ledger: what is served while it is injected, and what is noted against it."""

    def __init__(self, ledger: Ledger, altered: dict[Key, np.ndarray] | None = None):
        """`altered` replaces the words behind a key: what a test plants."""
        self.places: dict[Key, Served] = {}
        for one in draws.served(ledger):
            for key in draws.served_keys(one.key, one.draw):
                self.places[key] = one
        self.altered = altered or {}
        self.strays: list[str] = []

    def give(self, key: Key, width: int, shape: tuple[int, ...]) -> np.ndarray:
        """The words of one of the ledger's draws. What it does not hold is served too, and noted."""
        place = self.places.get(key)
        if key in self.altered:
            return self.altered[key]
        if place is None:
            self.strays.append(f"key {key_hex(key)} drew {list(shape)} of {width} bits and belongs to no stream")
        elif shape != bits_shape(place.draw) or width != width_of(place.draw):
            self.strays.append(f"{place.place} drew {list(shape)} of {width} bits, recorded {place.draw['shape']}")
        return threefry.random_bits(key, width, shape)

    def faults(self, asked: list[Key]) -> list[str]:
        """What does not hold of the keys that asked: strays, keys that asked twice, draws that nobody asked for."""
        described, seen = list(self.strays), set[Key]()
        for key in asked:
            if key in seen:
                place = self.places.get(key)
                described.append(f"key {key_hex(key)} served twice{f' ({place.place})' if place else ''}")
            seen.add(key)
        described += [
            f"{place.place} is recorded and was not drawn" for k, place in self.places.items() if k not in seen
        ]
        return described
