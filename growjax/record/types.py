"""The types of what is recorded, as plain JSON data: of single values, and of ledgers. Those of cells, of receipts and
of the files beside them are in `cell_types`, `receipt_types` and `file_types`.

They serve twice: a type checker reads them, and `growjax.record.reader` checks what strangers wrote against them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from annotated_types import Ge, Le, MaxLen, MinLen, Predicate
from typing_extensions import TypeAliasType, TypedDict

from growjax.domains import Purpose

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
    """A tree of plain data."""
else:  # what pydantic can follow into itself
    Json = TypeAliasType("Json", bool | int | float | str | list["Json"] | dict[str, "Json"] | None)

Tree = dict[str, Json]
"""A part of a record whose fields something else knows: a configuration, an environment."""


def is_form(form: str) -> Callable[[str], bool]:
    """Whether all of a text matches a regular expression."""
    return lambda text: re.fullmatch(form, text) is not None


def _is_base64(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) % 2 == 0
    except binascii.Error:
        return False


Digest = Annotated[str, Predicate(is_form(r"[0-9a-f]{64}"))]
"""SHA-256 in hexadecimal."""
Words = Annotated[str, Predicate(is_form(r"([0-9a-f]{16})*"))]
"""Digests of leaves after a step, 16 hexadecimal digits each."""
Steps16 = Annotated[str, Predicate(_is_base64)]
"""uint16 [steps, leaves], little-endian, in base64."""
Id = Annotated[str, Predicate(is_form(r"[0-9a-f]{16}"))]
"""Of a cell; also a key."""
Name = Annotated[str, MinLen(1), MaxLen(300), Predicate(str.isprintable)]
"""Of a source, a candidate, a regime, a stream or a leaf."""
Count = Annotated[int, Ge(0), Le(2**48)]
Seed = Annotated[int, Ge(0), Le(2**64 - 1)]
Word = Annotated[int, Ge(0), Le(2**32 - 1)]
Step = Annotated[int, Ge(0), Le(2**31 - 1)]
"""Of a state, which counts in int32."""
Number = float | int
Metric = float | int | bool | None
"""A figure of a measure; None where it has no meaning, or where JSON has no word for what came out."""

Stream = Literal["order", "dropout"]
Exchanged = dict[Name, Count]
"""By stream: the replicate whose randomness it has."""


Dtype = Literal["float16", "bfloat16", "float32", "float64", "int32", "int64", "uint32", "uint64"]
"""Of a leaf."""


# -- ledgers


class _Draw(TypedDict):
    shape: Annotated[list[Annotated[int, Ge(1), Le(2**30)]], MinLen(1), MaxLen(8)]


class Mask(_Draw):
    """A dropout mask."""

    distribution: Literal["mask"]
    dtype: Literal["uint64"]
    rate: Annotated[Number, Ge(0), Le(1)]


class Integers(_Draw):
    """Whole numbers from 0 to below `high`."""

    distribution: Literal["integers"]
    dtype: Literal["int32", "int64", "uint32", "uint64"]
    high: Annotated[int, Ge(1), Le(2**31 - 1)]


class Normals(_Draw):
    """Standard normals."""

    distribution: Literal["normal"]
    dtype: Literal["float32", "float64"]


class Uniforms(_Draw):
    """Uniforms from `low` to below `high`."""

    distribution: Literal["uniform"]
    dtype: Literal["float32", "float64"]
    low: Number
    high: Number


Draw = Mask | Integers | Normals | Uniforms
"""What is drawn at a site."""

Path = list[Name | Word]
"""What is folded into a key, one after the other: names stand for their tags, numbers for themselves."""


class Site(TypedDict):
    """Places below a step's key that draw alike."""

    at: list[Path]
    draw: Draw


class Root(TypedDict):
    """The root of a stream's keys."""

    purpose: Purpose
    seed: Seed


class Entry(TypedDict):
    """A stream in a ledger: its key's path, the steps in which it is live, what it draws at each."""

    root: Root
    path: Annotated[Path, MinLen(1), MaxLen(8)]
    key: Id
    """As the run held it."""
    first: Step
    last: Step
    sites: list[Site]
    draws: Seed
    words: Seed


Ledger = dict[Name, Entry]
"""By stream."""
