"""The one error that users meet: bad input, told in a single line.

Anything else that is raised is a fault of growjax itself and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Bad input: `fault` says what is wrong, `mend` what to do about it. Exit code 2."""

    def __init__(self, fault: str, mend: str):
        one_line = " ".join(f"{fault.rstrip('. ')}: {mend}".split())
        super().__init__(one_line)
        self.fault = fault
        self.mend = mend

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return UserError, (self.fault, self.mend)  # so that a lane can hand it on


class CheckFailed(Exception):
    """Something that was checked does not hold (damaged records included). Exit code 1."""


class NotComparable(Exception):
    """A comparison that cannot be made here, with the field that differs. Exit code 3."""
