"""Records that name damage to themselves: canonical JSON, sealed by a digest of everything else in it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from growjax.config import canonical_json, json_digest


def sealed(body: dict[str, Any]) -> dict[str, Any]:
    """A record with the digest of everything else in it."""
    return {**body, "digest": json_digest(body)}


def is_sealed(record: dict[str, Any]) -> bool:
    """Whether a record's digest is that of everything else in it."""
    return sealed({name: value for name, value in record.items() if name != "digest"}) == record


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The sealed record of a file; None where it is damaged. Raises `FileNotFoundError` where there is no file."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    try:
        record = json.loads(text)
        return record if is_sealed(record) and canonical_json(record) + "\n" == text else None
    except (ValueError, AttributeError):
        return None


def _each_float(value: Any, fn: Callable[[float], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _each_float(v, fn) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_each_float(v, fn) for v in value]
    return fn(value) if isinstance(value, float) else value


def exact(value: Any) -> Any:
    """The same data with every float as a hexadecimal one, so that a comparison depends on no decimal text."""
    return _each_float(value, lambda x: float(x).hex())


def readable(value: Any) -> Any:
    """The same data with None for every float that JSON has no word for (a run that diverged has such)."""
    return _each_float(value, lambda x: x if math.isfinite(x) else None)
