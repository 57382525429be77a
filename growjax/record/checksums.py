"""Records that name damage to themselves: canonical JSON, with a digest of everything else in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast, overload

from growjax.config import canonical_json, json_digest
from growjax.record.reader import RECORD_BYTES, parse, read_bytes
from growjax.record.types import Json, Tree


def with_checksum(body: Mapping[str, object]) -> Tree:
    """A record with the digest of everything else in it."""
    return {**cast(Tree, body), "digest": json_digest(body)}


def has_checksum(record: Mapping[str, object]) -> bool:
    """Whether a record's digest is that of everything else in it."""
    rest = {name: value for name, value in record.items() if name != "digest"}
    return record.get("digest") == json_digest(rest)


def read_checked(path: Path) -> Tree | None:
    """The record of a file, checked by its checksum; None where it is damaged. Raises `FileNotFoundError` where there
    is no file, `UserError` where it is beyond bounds."""
    text = read_bytes(path, RECORD_BYTES).decode("utf-8", errors="replace")
    try:
        record = parse(text, path)
    except ValueError:
        return None
    whole = isinstance(record, dict) and has_checksum(record) and canonical_json(record) + "\n" == text
    return record if whole and isinstance(record, dict) else None


def _each_float(value: object, fn: Callable[[float], Json]) -> Json:
    if isinstance(value, dict):
        return {name: _each_float(v, fn) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_each_float(v, fn) for v in value]
    return fn(value) if isinstance(value, float) else cast(Json, value)


@overload
def exact(value: Mapping[str, object]) -> Tree: ...
@overload
def exact(value: object) -> Json: ...
def exact(value: object) -> Json:
    """The same data with every float as a hexadecimal one, so that a comparison depends on no decimal text."""
    return _each_float(value, lambda x: float(x).hex())


@overload
def readable(value: Mapping[str, object]) -> Tree: ...
@overload
def readable(value: object) -> Json: ...
def readable(value: object) -> Json:
    """The same data with None for every float that JSON has no word for (a run that diverged has such)."""
    return _each_float(value, lambda x: x if math.isfinite(x) else None)
