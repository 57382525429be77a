"""What a ledger says is drawn (`growjax.draws`), derived in NumPy.

Imports no jax and nothing of growjax that makes keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from growjax.audit import threefry
from growjax.audit.threefry import Key
from growjax.draws import Draw, Ledger, Path, bits_shape, width_of
from growjax.schema import Record


def below(key: Key, path: Path) -> Key:
    """The key at the end of a path below `key`."""
    for step in path:
        key = threefry.as_key(threefry.fold_in(key, threefry.name_tag(step) if isinstance(step, str) else step))
    return key


def root(purpose: str, seed: int) -> Key:
    """The root of all keys of a seed for one purpose."""
    return below(threefry.seed_key(seed), [purpose])


def stream_key(entry: Record) -> Key:
    """A stream's key, from its root's name and seed and its path alone."""
    return below(root(entry["root"]["purpose"], entry["root"]["seed"]), entry["path"])


def served_keys(key: Key, draw: Draw) -> list[Key]:
    """The keys whose bits serve a draw: its own, or the two that integers take below it."""
    return threefry.split(key) if draw["distribution"] == "integers" else [key]


def bits(key: Key, draw: Draw) -> np.ndarray:
    """The random words behind a draw, for integers one array on the other."""
    parts = [threefry.random_bits(k, width_of(draw), bits_shape(draw)) for k in served_keys(key, draw)]
    return parts[0] if len(parts) == 1 else np.stack(parts)


def values(key: Key, draw: Draw) -> np.ndarray:
    """The values drawn: for masks true where an entry is kept."""
    shape = tuple(draw["shape"])
    match draw["distribution"]:
        case "mask":
            return threefry.dropout_mask(bits(key, draw), shape[-1], draw["rate"])
        case "integers":
            return threefry.randint(key, shape, 0, draw["high"], draw["dtype"])
        case "normal":
            return threefry.normal(key, shape, draw["dtype"])
        case "uniform":
            return threefry.uniform(key, shape, draw["dtype"], draw["low"], draw["high"])
    raise ValueError(f"no distribution is named {draw['distribution']!r}")


class Served(NamedTuple):
    """One draw of one stream at one step and site."""

    stream: str
    step: int
    path: tuple[str | int, ...]
    key: Key
    draw: Draw

    @property
    def place(self) -> str:
        """Where it is drawn, for people."""
        site = "/".join(map(str, self.path)) or "the step itself"
        return f"stream {self.stream}, step {self.step}, site {site}"


def step_keys(key: Key, steps: range, path: Path) -> list[Key]:
    """The keys at one site over many steps, derived together."""
    keys = threefry.fold_in(key, np.arange(steps.start, steps.stop, dtype=np.uint32))
    for step in path:
        keys = threefry.fold_in(keys, threefry.name_tag(step) if isinstance(step, str) else step)
    return list(zip(keys[0].tolist(), keys[1].tolist(), strict=True))


def served(ledger: Ledger, steps: range | None = None) -> Iterator[Served]:
    """Every draw of a ledger, by stream, site and step; only those of `steps` where it is given."""
    for stream, entry in ledger.items():
        first, last = entry["first"], entry["last"]
        window = range(first, last + 1)
        if steps is not None:
            window = range(max(first, steps.start), min(last + 1, steps.stop))
        for site in entry["sites"]:
            for path in site["at"] if len(window) else []:
                for step, key in zip(window, step_keys(stream_key(entry), window, path), strict=True):
                    yield Served(stream, step, tuple(path), key, site["draw"])


class Digests:
    """Digests of drawn bits. Cells that share randomness share draws, so each draw is derived once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Key, str], bytes] = {}

    def words(self, key: Key, draw: Draw) -> np.ndarray:
        """The words of one draw, derived now; its digest is kept."""
        found = bits(key, draw)
        plain = np.ascontiguousarray(found, found.dtype.newbyteorder("<"))
        self._known[key, json.dumps(draw, sort_keys=True)] = hashlib.sha256(plain.tobytes()).digest()
        return found

    def one(self, key: Key, draw: Draw) -> bytes:
        """SHA-256 of the little-endian words of one draw."""
        name = (key, json.dumps(draw, sort_keys=True))
        if name not in self._known:
            self.words(key, draw)
        return self._known[name]

    def streams(self, ledger: Ledger) -> dict[str, str]:
        """By stream: SHA-256 over the digests of all its draws, in the order of `served`."""
        totals = {stream: hashlib.sha256() for stream in ledger}
        for draw in served(ledger):
            totals[draw.stream].update(self.one(draw.key, draw.draw))
        return {stream: total.hexdigest() for stream, total in totals.items()}
