"""`claims`: the paper's claims, decided on a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from growjax.cli.arguments import parse
from growjax.cli.tables import console
from growjax.record.integrity import finished_receipt
from growjax.schema import Record


@dataclasses.dataclass(frozen=True)
class ClaimsArguments:
    """Decide the paper's six claims on a run, each by a rule written before it: holds, fails, or is undecided.

    Nothing is computed anew. Effects and intervals are over seeds, the independent unit.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory, or a receipt alone."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    from growjax.study.claims import claims_of

    given = parse(ClaimsArguments, argv, verb="claims")
    found = claims_of(finished_receipt(given.run))
    if given.json:
        print(json.dumps({"run": str(given.run), "claims": found}, sort_keys=True))
    else:
        print_claims(console(), found)
    return 0


def print_claims(out: Console, found: list[Record]) -> None:
    """A line for each claim, then its rule, and the same question asked otherwise."""
    from growjax.report.claims import SEEDS, effect, interval, rule

    for claim in found:
        out.print(f"\n{claim['claim']}. {claim['title']}: {claim['verdict']}", style="bold", highlight=False)
        out.print(
            f"effect {effect(claim)} {claim['unit']}, interval {interval(claim)}, n = {claim['n']} seeds, at lag "
            f"{claim['lag']}\nholds where {rule(claim)}",
            highlight=False,
        )
        table = Table("asked by", "", "verdict", "effect", "interval over seeds", "seeds")
        for row in claim["by"]:
            table.add_row(row["by"], row["value"], row["verdict"], effect(row), interval(row), str(row["n"]))
        if claim["by"]:
            out.print(table)
    out.print(f"\n{SEEDS}", highlight=False)
