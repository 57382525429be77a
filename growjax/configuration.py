"""What every configuration is: a frozen dataclass, checked when made, with one canonical JSON form and one digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

from growjax.domains import normalise
from growjax.errors import UserError, require
from growjax.schema import DEFAULTS, Record


def option_words(prefix: str, values: Mapping[str, object]) -> list[str]:
    """Fields of a configuration as options of a command line: `--data.batch-size 12`."""
    return [str(w) for name, value in values.items() for w in (f"--{prefix}.{name.replace('_', '-')}", value)]


def canonical_json(value: object) -> str:
    """The one text of a JSON value: sorted keys, no spaces, shortest round-trip floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def json_digest(value: object) -> str:
    """SHA-256 of the canonical JSON text, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Config:
    """Shared by every configuration: checked when made (`growjax.domains`), plain data out and in, one digest."""

    def __post_init__(self):
        normalise(self)
        self.check()

    def check(self) -> None:
        """Raises `UserError` where fields do not fit each other."""

    def to_dict(self) -> Record:
        """Nested plain data, ready for JSON (tuples become lists), without what stands at its schema's default
        (`growjax.schema.DEFAULTS`): a field that is added with a default changes no digest and no id."""
        frozen = DEFAULTS.get(type(self).__name__, {})
        found: Record = {}
        for field in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            value, default = plain(getattr(self, field.name)), frozen.get(field.name, plain(default_of(field)))
            if value != default:
                found[field.name] = value
        return found

    def every_field(self) -> Record:
        """Nested plain data with every field, for a reader."""
        return json.loads(canonical_json(dataclasses.asdict(self)))  # pyright: ignore[reportArgumentType]

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of `to_dict`."""
        return json_digest(self.to_dict())

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; the copy is checked like any other."""
        return dataclasses.replace(self, **changes)  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_dict(cls, data: Record) -> Self:
        """The inverse of `to_dict`, and of `every_field`; raises `UserError` on a field that is unknown, or that is
        missing and has no default."""
        require(isinstance(data, dict), f"a {cls.__name__} is a dict of fields", "give what to_dict gives")
        fields = {f.name: f for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
        unknown = sorted(set(data) - set(fields))
        if unknown:
            raise UserError(f"{cls.__name__} has no field {unknown[0]!r}", "use the growjax version that wrote it")
        lacking = [n for n, f in fields.items() if n not in data and default_of(f) is dataclasses.MISSING]
        if lacking:
            raise UserError(f"{cls.__name__} lacks the field {lacking[0]!r}", "restore what was written")
        values: Record = {}
        for name, value in {**DEFAULTS.get(cls.__name__, {}), **data}.items():
            if name not in fields:
                continue  # a default that was frozen for a field that is gone
            default = default_of(fields[name])
            if isinstance(default, Config) and isinstance(value, dict):
                value = type(default).from_dict(value)
            elif isinstance(default, tuple) and isinstance(value, list):
                value = tuple(value)
            values[name] = value
        return cls(**values)


def default_of(field: dataclasses.Field) -> Any:
    """A field's default; `dataclasses.MISSING` where it has none."""
    if field.default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def plain(value: object) -> object:
    """A field's value as plain data."""
    if isinstance(value, Config):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value
