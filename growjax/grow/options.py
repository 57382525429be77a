"""Options of operators and parts: each has a domain, which its annotation says, and is read and checked by it."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal

from growjax.domains import AT_LEAST_0, COUNT, FLAG, POSITIVE, SHARE, STEPS
from growjax.errors import UserError
from growjax.grow.plan import Options
from growjax.schema import Record
from growjax.values import LARGEST, MOST, Domain, Maybe, Name, Real, Text, Whole, taken

Amount = Annotated[float, AT_LEAST_0]
Rate = Annotated[float, POSITIVE]
Share = Annotated[float, SHARE]
Steps = Annotated[int, STEPS]
Horizon = Annotated[int, COUNT]
Decibels = Annotated[float, Real(-600.0, 600.0)]
"""Beyond that one of the two is nothing beside the other, in float64 too."""

_OTHERWISE: dict[object, Domain] = {
    bool: FLAG, int: Whole(-MOST, MOST), float: Real(-LARGEST, LARGEST), str: Text()
}  # fmt: skip
"""By a plain annotation: every finite number."""

_BOOL = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def domain_of(hint: Any) -> Domain:
    """What an option with this annotation may be: the domain in an `Annotated`, the words of a `Literal`, None besides
    in a union with it. Raises ValueError where the annotation says nothing of it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return next((one for one in hint.__metadata__ if hasattr(one, "take")), None) or domain_of(inner[0])
    if origin is Literal:
        return Name(inner)
    if origin in (types.UnionType, typing.Union) and len(inner) == 2 and type(None) in inner:
        return Maybe(domain_of(next(one for one in inner if one is not type(None))))
    if hint not in _OTHERWISE:
        raise ValueError("annotate it as bool, int, float or str")
    return _OTHERWISE[hint]


def hints_of(fn: Callable[..., object], options: Options) -> Record:
    """The options' annotations."""
    hints = typing.get_type_hints(fn, include_extras=True) if options else {}
    return {name: hints.get(name) for name in options}


def check_options(name: str, fn: Callable[..., object], options: Options) -> None:
    """Raises `UserError` where an option of an operator of that name has no domain, or a default outside of it."""
    try:
        hints = hints_of(fn, options)
    except (NameError, TypeError) as error:
        raise UserError(f"operator {name}: its annotations cannot be read ({error})", "correct them") from None
    for option, default in options.items():
        try:
            domain_of(hints[option]).take(default)
        except ValueError as error:
            raise UserError(f"operator {name}: its option {option}={default} is none", str(error)) from None


def read_option(name: str, hint: Any, word: str) -> Any:
    """An option's value as a command line has it; `name` is whose it is, for the `UserError` of a wrong one."""
    domain, plain = domain_of(hint), _plain(hint)
    try:
        value = _BOOL.get(word.lower(), word) if plain is bool else plain(word)
    except ValueError:
        value = word  # which the domain then refuses
    return taken(domain, value, name)


def _plain(hint: Any) -> Callable[[str], Any]:
    """The type to read a value as: of `float | None`, float; of words, str."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _plain(inner[0])
    if origin in (types.UnionType, typing.Union):
        return _plain(next(one for one in inner if one is not type(None)))
    return str if origin is Literal else hint
