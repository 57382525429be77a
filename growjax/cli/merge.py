"""`merge`: two runs of one environment as one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from growjax import runtime
from growjax.cli.arguments import parse
from growjax.cli.tables import console
from growjax.errors import one_line


@dataclasses.dataclass(frozen=True)
class MergeArguments:
    """Merge two run directories with the same environment: halves of a study, or the same one filled in part.

    Exit codes: 0 merged; 1 they hold a cell that is not the same, or one is damaged; 3 not of the same environment.
    """

    a: Annotated[Path, tyro.conf.Positional]
    """A run directory."""
    b: Annotated[Path, tyro.conf.Positional]
    """Another, filled in the same environment."""
    out: Path
    """The merged run, a new directory."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    from growjax.proof.merge import merge

    given = parse(MergeArguments, argv, verb="merge")
    runtime.start()
    found = merge(given.a, given.b, given.out)
    if given.json:
        print(json.dumps({"directory": str(given.out), **found._asdict()}, sort_keys=True))
        return 0
    lines = [f"{given.out} holds {found.cells} cells, {found.both} of which both runs had alike"]
    if found.missing:
        lines.append(f"{found.missing} or more are still missing: study goes on with it (--out {given.out})")
    else:
        lines += [f"results  {found.results}", f"root     {found.root}"]
    for line in lines:
        console().print(one_line(line), highlight=False, soft_wrap=True)
    return 0
