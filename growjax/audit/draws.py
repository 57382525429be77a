"""What is drawn, as plain data, and its derivation in NumPy. Imports no jax and nothing of growjax that makes keys.

A ledger names streams; a stream has a key path, a first and a last step, and sites; a site has paths below the step's
key and says what is drawn at each. All of it is JSON.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from growjax.audit import threefry
from growjax.audit.threefry import Key

Path = Sequence[str | int]
"""What is folded into a key, one after the other: names stand for their tags, numbers for themselves."""

Draw = dict[str, Any]
"""distribution (mask, integers, normal, uniform), shape, dtype, and the distribution's own numbers."""

Ledger = dict[str, dict[str, Any]]
"""By stream: root (purpose and seed), path, key (hexadecimal, as the run held it), first, last, sites, draws, words."""


def mask(shape: Iterable[int], rate: float) -> Draw:
    """A dropout mask of that shape: four entries for each 64-bit word drawn."""
    return {"distribution": "mask", "shape": list(shape), "dtype": "uint64", "rate": rate}


def integers(count: int, high: int, dtype: str = "int32") -> Draw:
    """Whole numbers from 0 to below `high`."""
    return {"distribution": "integers", "shape": [count], "dtype": dtype, "high": high}


def normals(shape: Iterable[int], dtype: str = "float32") -> Draw:
    """Standard normals."""
    return {"distribution": "normal", "shape": list(shape), "dtype": dtype}


def uniforms(count: int, low: float, high: float, dtype: str = "float64") -> Draw:
    """Uniforms from `low` to below `high`."""
    return {"distribution": "uniform", "shape": [count], "dtype": dtype, "low": low, "high": high}


def bits_shape(draw: Draw) -> tuple[int, ...]:
    """The shape of the random words behind a draw (behind each of two keys, for integers)."""
    *rest, last = draw["shape"]
    return (*rest, (last + 3) // 4) if draw["distribution"] == "mask" else (*rest, last)


def width_of(draw: Draw) -> int:
    """How many bits each random word behind a draw has."""
    return 64 if draw["dtype"] in ("float64", "int64", "uint64") else 32


def words_of(draw: Draw) -> int:
    """How many 32-bit words a draw takes."""
    keys = 2 if draw["distribution"] == "integers" else 1
    return keys * width_of(draw) // 32 * math.prod(bits_shape(draw))


def values_of(draw: Draw) -> int:
    """How many values a draw gives."""
    return math.prod(draw["shape"])


def below(key: Key, path: Path) -> Key:
    """The key at the end of a path below `key`."""
    for step in path:
        key = threefry.as_key(threefry.fold_in(key, threefry.name_tag(step) if isinstance(step, str) else step))
    return key


def root(purpose: str, seed: int) -> Key:
    """The root of all keys of a seed for one purpose."""
    return below(threefry.seed_key(seed), [purpose])


def stream_key(entry: dict[str, Any]) -> Key:
    """A stream's key, from its root's name and seed and its path alone."""
    return below(root(entry["root"]["purpose"], entry["root"]["seed"]), entry["path"])


def key_hex(key: Iterable[int]) -> str:
    """A key as 16 hexadecimal digits."""
    return "".join(f"{int(word):08x}" for word in key)


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


def entry(purpose: str, seed: int, path: Path, key: str, steps: tuple[int, int], sites: list[dict]) -> dict[str, Any]:
    """A stream's entry in a ledger. `steps`: the first and the last."""
    times = steps[1] - steps[0] + 1
    return {
        "root": {"purpose": purpose, "seed": seed},
        "path": list(path),
        "key": key,
        "first": steps[0],
        "last": steps[1],
        "sites": sites,
        "draws": times * sum(len(s["at"]) * values_of(s["draw"]) for s in sites),
        "words": times * sum(len(s["at"]) * words_of(s["draw"]) for s in sites),
    }


class Digests:
    """Digests of drawn bits. Cells that share luck share draws, so each draw is derived once."""

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
