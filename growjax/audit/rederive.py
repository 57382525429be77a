"""Every draw of a ledger twice: by JAX, as training makes it, and in NumPy; word for word."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from growjax.audit import draws, threefry
from growjax.audit.draws import Digests, Served
from growjax.draws import Draw, Ledger, bits_shape, values_of, width_of, words_of
from growjax.model.layers import dropout
from growjax.schema import Record
from growjax.streams import Streams, at_step, name_tag, root_key

_AT_ONCE = 16
"""Steps at a time."""


def stream_key(entry: Record) -> jax.Array:
    """A stream's key as growjax's own key code makes it."""
    *path, stream = entry["path"]
    streams = Streams(root_key(entry["root"]["seed"], entry["root"]["purpose"]))
    for kind, number in zip(path[::2], path[1::2], strict=True):
        streams = {"replicate": streams.replicate, "part": streams.part}[kind](number)
    return streams.stream(stream)


def _site(key: jax.Array, tags: jax.Array) -> jax.Array:
    for number in range(tags.shape[0]):
        key = jax.random.fold_in(key, tags[number])
    return key


@partial(jax.jit, static_argnames=("shape", "width", "split"))
def _words(
    stream: jax.Array, steps: jax.Array, tags: jax.Array, *, shape: tuple[int, ...], width: int, split: bool
) -> jax.Array:
    def one(step: jax.Array) -> jax.Array:
        key, dtype = _site(at_step(stream, step), tags), jnp.dtype(f"uint{width}")
        keys = jax.random.split(key) if split else key[None]
        return jnp.stack([jax.random.bits(keys[i], shape, dtype) for i in range(keys.shape[0])])

    return jax.lax.map(one, steps)


def _values(key: jax.Array, draw: Draw) -> np.ndarray:
    shape = tuple(draw["shape"])
    match draw["distribution"]:
        case "mask":
            return np.asarray(dropout(jnp.ones(shape, jnp.float32), draw["rate"], key=key) != 0)
        case "integers":
            return np.asarray(jax.random.randint(key, shape, 0, draw["high"], dtype=draw["dtype"]))
        case "normal":
            return np.asarray(jax.random.normal(key, shape, draw["dtype"]))
        case _:
            return np.asarray(jax.random.uniform(key, shape, draw["dtype"], draw["low"], draw["high"]))


class Comparison:
    """What was derived twice so far. Cells that share randomness share draws, and each is derived once."""

    def __init__(self) -> None:
        self.draws = self.words = self.exact = 0
        """Distinct draws (one for each key and shape), their words, and those whose values were compared as well."""
        self.furthest: dict[str, float] = {}
        """Of normals, by dtype: the largest distance, as `threefry.normal_distance` measures."""
        self.digests = Digests()
        self.faults: list[str] = []
        self._done: set[tuple] = set()

    def ledger(self, ledger: Ledger) -> None:
        """Derives every draw of a ledger that was not derived before."""
        for stream, entry in ledger.items():
            key = stream_key(entry)
            for site in entry["sites"]:
                for path in site["at"]:
                    self._site(stream, entry, key, path, site["draw"])

    def _site(self, stream: str, entry: Record, key: jax.Array, path: list[str | int], draw: Draw) -> None:
        tags = jnp.asarray([name_tag(p) if isinstance(p, str) else p for p in path], jnp.uint32)
        width, shape = width_of(draw), bits_shape(draw)
        split, name = draw["distribution"] == "integers", repr(draw)
        window = range(entry["first"], entry["last"] + 1)
        mine = draws.step_keys(draws.stream_key(entry), window, path)
        todo = [(s, k) for s, k in zip(window, mine, strict=True) if (k, name) not in self._done]
        size = _AT_ONCE if len(window) > 1 else 1
        for start in range(0, len(todo), size):
            part = todo[start : start + size]
            padded = [s for s, _ in part] + [part[0][0]] * (size - len(part))
            theirs = _words(key, jnp.asarray(padded, jnp.int32), tags, shape=shape, width=width, split=split)
            for (step, mine_key), words in zip(part, np.asarray(theirs), strict=False):
                self._done.add((mine_key, name))
                place = Served(stream, step, tuple(path), mine_key, draw)
                self._words(place, words if split else words[0])
        if todo:
            # the values of the first step: how they follow from the words is the same at every step
            self._first(
                Served(stream, todo[0][0], tuple(path), todo[0][1], draw), _site(at_step(key, todo[0][0]), tags)
            )

    def _words(self, place: Served, theirs: np.ndarray) -> None:
        self.draws += 1
        self.words += words_of(place.draw)
        mine = self.digests.words(place.key, place.draw)
        if not np.array_equal(mine, theirs):
            at = tuple(int(i) for i in np.argwhere(mine != theirs)[0])
            self.faults.append(f"{place.place}: word {at} is {theirs[at]} by JAX and {mine[at]} derived without it")

    def _first(self, place: Served, key: jax.Array) -> None:
        theirs = _values(key, place.draw)
        if place.draw["distribution"] == "normal":
            far, allowed = threefry.normal_distance(theirs, place.key), threefry.NORMAL_ULPS[theirs.dtype.name]
            self.furthest[theirs.dtype.name] = max(far, self.furthest.get(theirs.dtype.name, 0.0))
            if not far <= allowed:
                self.faults.append(
                    f"{place.place}: a normal lies {far:.1f} ulps from the derived one, {allowed} allowed"
                )
        elif not np.array_equal(theirs, draws.values(place.key, place.draw)):
            self.faults.append(f"{place.place}: the values by JAX are not those derived without it")
        self.exact += values_of(place.draw)
