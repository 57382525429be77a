"""Arguments: tyro over frozen dataclasses, with every fault reported in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import re
from typing import TypeVar

import tyro

from growjax.domains import normalise
from growjax.errors import UserError
from growjax.schema import Record

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Common:
    """What every verb that writes a run directory takes."""

    force: bool = False
    """Start anew where a run stands already. It is deleted once tokens are made and nothing is left to refuse."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""
    workers: int = 0
    """Cells side by side; 0 takes one for each core, on accelerators one for each device. No result depends on it."""


def parse(kind: type[T], argv: list[str], *, verb: str, default: T | None = None) -> T:
    """The arguments of a verb. A wrong one raises `UserError`; `--help` prints and exits."""
    if any("\0" in word for word in argv):
        raise UserError("an argument holds a NUL character", "leave it out")
    said = io.StringIO()
    start: Record = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said):
            given = tyro.cli(
                kind,
                prog=f"python -m growjax {verb}",
                args=argv,
                **start,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UserError(one_line(said.getvalue()), f"see python -m growjax {verb} --help") from None
    normalise(given)
    return given


def one_line(text: str) -> str:
    """tyro's framed message as one line of plain text."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [re.sub(r"^[│|]|[│|]$", "", line.strip()).strip() for line in plain.splitlines()]
    kept: list[str] = []
    for line in lines:
        if re.match(r"^[╭╰─]", line) or not line:
            continue
        if line.startswith(("For full helptext", "───", "Perhaps you meant", "Similar")):
            break
        kept.append(line)
    return " ".join(kept) or "the arguments could not be read"


def option_values(argv: list[str], name: str) -> list[str]:
    """All values that an option has in argv, before anything is parsed."""
    found: list[str] = []
    for i, word in enumerate(argv):
        if word == name:
            found += itertools.takewhile(lambda value: not value.startswith("--"), argv[i + 1 :])
        elif word.startswith(f"{name}="):
            found.append(word.partition("=")[2])
    return found


def option_value(argv: list[str], name: str) -> str | None:
    """The value an option has in argv, before anything is parsed; None where it is not given."""
    for i, word in enumerate(argv):
        if word == name and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
