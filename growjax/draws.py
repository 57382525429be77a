"""What is drawn, as plain data: the words in which an operator declares its draws, and a cell its ledger.

A ledger names streams; a stream has a key path, a first and a last step, and sites; a site has paths below the step's
key and says what is drawn at each. All of it is JSON. Nothing here imports jax, or makes a key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from growjax.errors import require
from growjax.schema import Record

FLOATS, INTEGERS = ("float32", "float64"), ("int32", "int64", "uint32", "uint64")
"""Types in which a draw is derived without JAX as well, and read from a record."""

Path = Sequence[str | int]
"""What is folded into a key, one after the other: names stand for their tags, numbers for themselves."""

Draw = Record
"""distribution (mask, integers, normal, uniform), shape, dtype, and the distribution's own numbers."""

Sites = list[tuple[list[str | int], Draw]]
"""Paths below the step's key, each with what is drawn there, as in `([path, 0], normals(shape))` for a key
`at_site(key, path)`."""

Ledger = dict[str, Record]
"""By stream: root (purpose and seed), path, key (hexadecimal, as the run held it), first, last, sites, draws, words."""


def _draw(distribution: str, shape: Iterable[int], dtype: str, known: Sequence[str], **numbers: float) -> Draw:
    require(
        dtype in known,
        f"a ledger holds no draw of distribution {distribution} in {dtype}",
        f"draw in {' or '.join(known)} and convert",
    )
    return {"distribution": distribution, "shape": list(shape), "dtype": dtype, **numbers}


def mask(shape: Iterable[int], rate: float) -> Draw:
    """A dropout mask of that shape: four entries for each 64-bit word drawn."""
    return {"distribution": "mask", "shape": list(shape), "dtype": "uint64", "rate": rate}


def integers(count: int, high: int, dtype: str = "int32") -> Draw:
    """Whole numbers from 0 to below `high`. Raises `UserError` for a dtype that is none of `INTEGERS`."""
    return _draw("integers", [count], dtype, INTEGERS, high=high)


def normals(shape: Iterable[int], dtype: str = "float32") -> Draw:
    """Standard normals. Raises `UserError` for a dtype that is none of `FLOATS`."""
    return _draw("normal", shape, dtype, FLOATS)


def uniforms(count: int, low: float, high: float, dtype: str = "float64") -> Draw:
    """Uniforms from `low` to below `high`. Raises `UserError` for a dtype that is none of `FLOATS`."""
    return _draw("uniform", [count], dtype, FLOATS, low=low, high=high)


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


def key_hex(key: Iterable[int]) -> str:
    """A key as 16 hexadecimal digits."""
    return "".join(f"{int(word):08x}" for word in key)


def entry(purpose: str, seed: int, path: Path, key: str, steps: tuple[int, int], sites: list[dict]) -> Record:
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
