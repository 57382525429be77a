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
    places: bool = False
    """Print also every source, regime and lag that a verdict rests on."""
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
        print_claims(console(), found, places=given.places)
    return 0


def print_claims(out: Console, found: list[Record], *, places: bool = False) -> None:
    """A line for each claim, then its rule, the same question asked otherwise, and the places that it rests on."""
    from growjax.report.claims import REPLICATES, SEEDS, effect, interval, replicates, rule

    for claim in found:
        out.print(f"\n{claim['claim']}. {claim['title']}: {claim['verdict']}", style="bold", highlight=False)
        out.print(
            f"effect {effect(claim)} {claim['unit']}, interval {interval(claim)}, n = {claim['n']} seeds, at lag "
            f"{claim['lag']}, {replicates(claim)} replicates\nholds where {rule(claim)}",
            highlight=False,
        )
        table = Table("asked by", "", "verdict", "effect", "interval over seeds", "seeds", "replicates")
        for row in claim["by"]:
            figures = (row["verdict"], effect(row), interval(row), str(row["n"]), replicates(row))
            table.add_row(row["by"], row["value"], *figures)
        if claim["by"]:
            out.print(table)
        if places:
            there = Table("source", "regime", "lag", "of", "effect", "interval", "replicates", "there")
            for row in claim["places"]:
                figures = (effect(row), interval(row), str(row["n"]), row["verdict"])
                there.add_row(row["source"], row["regime"], str(row["lag"]), row["what"], *figures)
            out.print(there)
    out.print(f"\n{SEEDS}{f' {REPLICATES}' if places else ''}", highlight=False)
