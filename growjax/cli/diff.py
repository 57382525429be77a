"""`diff`: the first difference between two runs or two states."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from growjax import runtime
from growjax.cli.arguments import parse
from growjax.cli.tables import console
from growjax.errors import one_line

if TYPE_CHECKING:
    from growjax.proof.diff import Found


@dataclasses.dataclass(frozen=True)
class DiffArguments:
    """Name the first difference between two runs (directories or receipts) or two states: cell, step, leaf, element.

    Exit codes: 0 no difference, 1 a difference, or nothing to compare, or one side is damaged.
    """

    a: Annotated[Path, tyro.conf.Positional]
    """A run directory, a receipt, or a folder that holds a state."""
    b: Annotated[Path, tyro.conf.Positional]
    """Another of the same kind."""
    corpus: str | None = None
    """Where the corpus lies here, if states must be computed again and it is not where the receipt has it."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    given = parse(DiffArguments, argv, verb="diff")
    runtime.start()
    from growjax.proof.diff import described, diff

    found = diff(given.a, given.b, corpus=given.corpus)
    if given.json:
        print(json.dumps({"a": str(given.a), "b": str(given.b), **described(found)}, sort_keys=True))
    else:
        for line in (_verdict(found), *found.notes):
            console().print(one_line(line), highlight=False, soft_wrap=True)
    return 0 if found.difference is None and found.compared else 1


def _verdict(found: Found) -> str:
    if not found.compared:
        return "nothing was compared: the two runs share no cell"
    return "no difference" if found.difference is None else f"first difference: {found.difference}"
