"""growjax.json: how a checkpoint was made, in a form that can be checked.

It names the source's tensors and those written by digest, and whatever the one follows from the other by: operator,
seed, both decoders. Its own digest is over all of that, so that nothing in it can be changed unseen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from growjax.checkpoints.stored import read_json
from growjax.config import json_digest
from growjax.errors import UserError
from growjax.files import write_text
from growjax.schema import Fields, Record

NAME = "growjax.json"
SCHEMA = 1

_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "schema": int,
    "growjax": str,
    "source": dict,
    "operator": str,
    "seed": int,
    "before": dict,
    "after": dict,
    "plan": list,
    "keeps_function": bool,
    "dtype": str,
    "tensors": str,
    "step_zero": dict,
    "digest": str,
}
_SOURCE: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "model_type": str,
    "tensors": str,
    "record": (str, type(None)),
}

_HINT = "make the checkpoint again, or take the file away"


class Digests(NamedTuple):
    """SHA-256 of all tensors: of the canonical JSON of each one's, by name."""

    source: str
    written: str

    @classmethod
    def of(cls, source: Mapping[str, str], written: Mapping[str, str]) -> Digests:
        """From the digest of each tensor: of its name, dtype, shape and little-endian bytes."""
        return cls(json_digest(dict(source)), json_digest(dict(written)))


def write_record(folder: Path, fields: Fields) -> str:
    """Writes growjax.json of everything but `schema` and `digest`; returns the digest."""
    whole = {**fields, "schema": SCHEMA}
    digest = json_digest(whole)
    whole["digest"] = digest
    _check(whole)
    write_text(folder / NAME, json.dumps(whole, indent=2, sort_keys=True) + "\n")
    return digest


def read_record(folder: Path) -> Record | None:
    """What growjax.json of a folder says; None where there is none. Raises `UserError` for one that has another field
    or lacks one, or that is not what was written."""
    if not (folder / NAME).exists():
        return None
    found = read_json(folder / NAME)
    _check(found)
    return found


def _digest(found: Fields) -> str | None:
    """Of all but `digest`; None where there is no such text, as for NaN."""
    try:
        return json_digest({name: value for name, value in found.items() if name != "digest"})
    except ValueError:
        return None


def _check(found: Fields) -> None:
    _check_fields(found, _FIELDS, "")
    _check_fields(found["source"], _SOURCE, "source.")
    if found["schema"] != SCHEMA:
        raise UserError(f"{NAME} has schema {found['schema']}", "use the growjax version that wrote it")
    if found["digest"] != _digest(found):
        raise UserError(f"{NAME} was changed after it was written", _HINT)


def _check_fields(found: Fields, known: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    unknown, lacking = sorted(found.keys() - known.keys()), sorted(known.keys() - found.keys())
    if unknown or lacking:
        raise UserError(
            f"{NAME} has a field {where}{unknown[0]}" if unknown else f"{NAME} lacks {where}{lacking[0]}", _HINT
        )
    for name, kind in known.items():
        if not isinstance(found[name], kind) or (kind is int and isinstance(found[name], bool)):
            raise UserError(f"{NAME}: {where}{name} is {found[name]!r:.60}", _HINT)
