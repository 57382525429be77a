"""`doctor`: the bits contract proved on this machine's own device, row by row."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

from growjax.cli.arguments import parse
from growjax.cli.tables import console
from growjax.errors import UserError
from growjax.schema import Record


@dataclasses.dataclass(frozen=True)
class DoctorArguments:
    """Prove the bits contract here: every row runs a real continuation in other surroundings and compares digests.

    Exit codes: 0 every row that can be proved here holds, 1 a row fails. Takes a few minutes.
    """

    rows: tuple[str, ...] = ()
    """Only these, such as B1 B5; all if not given."""
    pythons: tuple[str, ...] = ()
    """Other Python interpreters that have growjax's requirements installed, for row B7."""
    thorough: bool = False
    """More of everything: 20 kills, pools of 1, 2, 3 and 7 (about twenty minutes)."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    given = parse(DoctorArguments, argv, verb="doctor", default=DoctorArguments())
    from rich.console import Console

    from growjax.proof.bench import Bench
    from growjax.proof.doctor import ROWS, document, examine, rows_here

    names = [row.name for row in ROWS]
    for name in given.rows:
        if name not in names:
            raise UserError(f"the contract has no row {name!r}", f"choose among {', '.join(names)}")
    with Console(stderr=True).status("starting") as status, tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            Path(folder),
            pythons=given.pythons,
            thorough=given.thorough,
            watch=lambda what: status.update(f"running: {what}"),
        )
        here = bench.ask()
        rows = {row.name: row for row in rows_here(here["environment"]["backend"], here["devices"])}
        results = examine(bench, tuple(rows[name] for name in given.rows or rows), lambda result: None)
    found = document(results, here)
    if given.json:
        print(json.dumps(found, sort_keys=True))
    else:
        _print(found)
    return 1 if any(result.verdict == "fails" for result in results) else 0


def _print(document: Record) -> None:
    from rich.table import Table

    environment = document["environment"]
    jaxlib, cpu = environment["packages"]["jaxlib"], environment["cpu"]["model"]
    title = f"bits on {environment['device_kind']} ({cpu}), jaxlib {jaxlib}"
    table = Table("row", "what may change", "", "compared with the plain run, bit for bit", title=title)
    for row in document["rows"]:
        table.add_row(row["row"], row["changes"], row["verdict"], row["failed"] or ", ".join(row["compared"]))
    console().print(table)
