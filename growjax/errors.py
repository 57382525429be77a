"""The one error that users meet: bad input, reported in a single line.

Anything else that is raised is a fault of growjax itself and keeps its traceback.
"""

from __future__ import annotations


def one_line(text: object) -> str:
    """A text as one line that a terminal can be given, whoever wrote it: what cannot be printed is escaped."""
    line = " ".join(str(text).split())
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class UserError(Exception):
    """Bad input: `fault` says what is wrong, `hint` what to do about it. Exit code 2."""

    def __init__(self, fault: str, hint: str):
        super().__init__(one_line(f"{fault.rstrip('. ')}: {hint}"))
        self.fault = fault
        self.hint = hint

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return UserError, (self.fault, self.hint)  # so that a worker can hand it on


def require(holds: bool, fault: str, hint: str) -> None:
    """Raises `UserError` unless something holds."""
    if not holds:
        raise UserError(fault, hint)


class CheckFailed(Exception):
    """Something that was checked does not hold (damaged records included). Exit code 1."""


class NotComparable(Exception):
    """A comparison that cannot be made here, with the field that differs. Exit code 3."""
