"""What a value may be: numbers in a range, words, flags, and tuples of them; a value is taken in one form."""

from __future__ import annotations

import dataclasses
import math
import operator
import os
import struct
from collections.abc import Iterable
from typing import Any, Protocol

from growjax.errors import UserError

MOST = 2**31 - 1
"""Of sizes, steps and counts: what 32 bits with a sign hold."""

MOST_SEED = 2**63 - 1
"""What `jax.random.key` takes."""

LARGEST, SMALLEST = 3.4028234663852886e38, 1.1754943508222875e-38
"""Float32's largest number, and the smallest above 0 that a processor does not take for 0."""


def as_float32(value: float) -> float:
    """What float32 holds of a number; beyond `LARGEST` it is infinite."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


class Domain(Protocol):
    """What a field may be."""

    def take(self, value: object) -> object:
        """The value in its one form. Raises ValueError where it is none of the domain's; the text says what is."""
        ...


@dataclasses.dataclass(frozen=True)
class Whole:
    """Whole numbers from `least` to `most`, both included."""

    least: int = 0
    most: int = MOST

    def take(self, value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            real = finite_number(value)
            number = int(real) if real is not None and real.is_integer() else None
        if number is None or not self.least <= number <= self.most:
            raise ValueError(f"give a whole number from {self.least} to {self.most}")
        return number


@dataclasses.dataclass(frozen=True)
class Real:
    """Finite numbers from `least` to `most`, both included, or neither where they are `open`."""

    least: float = 0.0
    most: float = LARGEST
    open: bool = False
    hint: str = ""

    def take(self, value: object) -> float:
        number = finite_number(value)
        inside = number is not None and (
            self.least < number < self.most if self.open else self.least <= number <= self.most
        )
        if number is None or not inside:
            among = "between" if self.open else "from"
            raise ValueError(
                f"give a number {among} {self.least:g} {'and' if self.open else 'to'} {self.most:g}{self.hint}"
            )
        return number + 0.0  # no -0.0


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or False."""

    def take(self, value: object) -> bool:
        if isinstance(value, str) or finite_number(value) not in (0.0, 1.0):
            raise ValueError("give True or False")
        return bool(value)


@dataclasses.dataclass(frozen=True)
class Name:
    """One of some words."""

    among: tuple[str, ...]

    def take(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.among:
            raise ValueError(f"choose one of {', '.join(self.among)}")
        return str(value)


@dataclasses.dataclass(frozen=True)
class Text:
    """Any text, paths included."""

    blank: bool = True
    hint: str = "give a text"

    def take(self, value: object) -> str:
        text = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(text, str) or not (self.blank or text):
            raise ValueError(self.hint)
        return str.__str__(text)


@dataclasses.dataclass(frozen=True)
class Maybe:
    """None, or what another domain has."""

    of: Domain

    def take(self, value: object) -> object:
        return None if value is None else self.of.take(value)


@dataclasses.dataclass(frozen=True)
class Several:
    """A tuple of what another domain has."""

    of: Domain

    def take(self, value: object) -> tuple[object, ...]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ValueError("give a tuple")
        return tuple(self.of.take(one) for one in value)


@dataclasses.dataclass(frozen=True)
class Part:
    """A configuration of another class, by its name."""

    kind: str

    def take(self, value: object) -> object:
        if not any(cls.__name__ == self.kind for cls in type(value).__mro__):
            raise ValueError(f"give a {self.kind}")
        return value


def finite_number(value: Any) -> float | None:
    """A finite Python number, or None."""
    if isinstance(value, str | bytes | bytearray):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def taken(domain: Domain, value: object, name: str) -> Any:
    """One value in its form, for a function's argument of that name; raises `UserError`."""
    try:
        return domain.take(value)
    except ValueError as error:
        raise UserError(f"{name} is {shown(value)}", str(error)) from None


def shown(value: object) -> str:
    """A value in a message, of whatever length it is."""
    try:
        text = str(value)
    except ValueError:  # a number of more digits than Python writes
        return "too long to be reported"
    return text if len(text) <= 80 else f"{text[:80]}..."
