"""Values of a config.json, each refused with its key where it is not what it must be."""

from __future__ import annotations

from typing import Any

from growjax.errors import UserError
from growjax.schema import Fields
from growjax.values import LARGEST, Domain

Given = Fields
"""A config.json."""

REQUIRED = object()
"""In place of a default: the key must be there."""


def refused(key: str, value: object, hint: str) -> UserError:
    """The fault of a key's value."""
    return UserError(f"config.json: {key} is {value!r:.80}", hint)


def typed(given: Given, key: str, kind: type, default: Any = REQUIRED) -> Any:
    """A key's value, of that type, or the default where it is missing or null."""
    value = given.get(key)
    if value is None:
        if default is REQUIRED:
            raise UserError(f"config.json lacks {key}", "restore the file from where the checkpoint comes from")
        return default
    if kind is float and type(value) is int and abs(value) <= LARGEST:
        value = float(value)
    if type(value) is not kind:
        raise refused(key, value, f"it must be of type {kind.__name__}")
    return value


def within(domain: Domain, key: str, value: Any) -> Any:
    """A key's value, in the domain that it must be of."""
    try:
        return domain.take(value)
    except ValueError as error:
        raise refused(key, value, str(error)) from None


def positive(given: Given, key: str, default: Any = REQUIRED) -> float:
    """A number above 0."""
    value = typed(given, key, float, default)
    if not 0 < value < float("inf"):
        raise refused(key, value, "it must be a positive number")
    return value
