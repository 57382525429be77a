"""`audit`: every random draw of a run, accounted for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal, cast

import tyro

from growjax import runtime
from growjax.cli.arguments import parse
from growjax.cli.progress import ProgressWatch
from growjax.cli.tables import console
from growjax.errors import UserError
from growjax.record.cells import ledger_of
from growjax.record.integrity import open_receipt
from growjax.record.rundir import RunDir
from growjax.schema import Record


@dataclasses.dataclass(frozen=True)
class AuditArguments:
    """Account for every random draw of a run: derived again by JAX and without it, walked, injected as data.

    Writes RUN/report/audit.html. Exit code 1 where something does not hold; every such thing is named.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    inject: Literal["some", "all", "none"] = "some"
    """Cells to run again with their recorded draws in place of keys: one of each kind, all, or none. With none, it is
    not checked that candidates drew what their operators declare."""
    against: Path | None = None
    """Another run: say in which streams the two differ, and check nothing."""
    cell: str = ""
    """With --step: show what this cell drew at that step, and check nothing."""
    step: int = 0
    """The step to show of --cell."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    from growjax.audit.check import audit
    from growjax.report.audit import verdict, write_audit

    given = parse(AuditArguments, argv, verb="audit")
    directory = RunDir(given.run)
    if given.against is not None:
        return _compare(directory, given)
    if given.cell:
        return _show(directory, given)
    runtime.start()
    with ProgressWatch() as watch:
        result = audit(directory, inject=given.inject, notify=lambda text: watch.phase(text, 1, 1))
        page = write_audit(directory.report, result)
    if given.json:
        described = {name: value for name, value in result.items() if name != "streams"}
        print(json.dumps({"directory": str(directory.path), **described}, sort_keys=True))
    else:
        _print(result, verdict(result), page)
    return 0 if result["holds"] else 1


def _print(result: Record, verdict: str, page: Path) -> None:
    out = console()
    for name, number in result["counts"].items():
        out.print(f"{number:>14,}  {name}", highlight=False)
    for dtype, far in sorted(result["normal_distance"].items()):
        out.print(f"{far:>14.1f}  ulps between {dtype} normals by JAX and derived, at most", highlight=False)
    for fault in result["faults"]:
        out.print(f"does not hold: {fault}", highlight=False, soft_wrap=True)
    for left_out in result["not_checked"]:
        out.print(f"not checked: {left_out}", highlight=False, soft_wrap=True)
    out.print(verdict)
    out.print(f"page  {page}", highlight=False, soft_wrap=True)


def _compare(directory: RunDir, given: AuditArguments) -> int:
    """Which streams' randomness differs between two runs."""
    from growjax.audit.against import against

    assert given.against is not None
    found = against(open_receipt(directory.path), open_receipt(given.against))
    if given.json:
        print(json.dumps(found, sort_keys=True))
        return 0
    out = console()
    out.print(f"{found['cells']} cells stand in both runs")
    for name, row in {**found["streams"], "states before the first step": found["states"]}.items():
        out.print(f"{name}: the same in {row['same']}, another in {row['other']}", highlight=False)
    return 0


def _show(directory: RunDir, given: AuditArguments) -> int:
    """What one cell drew at one step, from its ledger, derived without JAX."""
    from growjax.audit import draws
    from growjax.draws import key_hex

    cells = {cell["id"]: cell for cell in open_receipt(directory.path)["cells"]}
    if given.cell not in cells:
        raise UserError(f"no cell of this run is named {given.cell[:40]!r}", "take an id from the receipt or the page")
    ledger = cast(draws.Ledger, ledger_of(cells[given.cell]) or {})
    found = draws.served(ledger, range(given.step, given.step + 1))
    rows = [
        {"stream": one.stream, "site": "/".join(map(str, one.path)), "key": key_hex(one.key), "draw": one.draw,
         "first": draws.values(one.key, one.draw).reshape(-1)[:8].tolist()}
        for one in found
    ]  # fmt: skip
    if given.json:
        print(json.dumps({"cell": given.cell, "step": given.step, "drawn": rows}, sort_keys=True))
        return 0
    out = console()
    for row in rows:
        what = f"{row['draw']['distribution']} {row['draw']['shape']}"
        out.print(f"{row['stream']} {row['site']}  {row['key']}  {what}  {row['first']} ...", highlight=False)
    if not rows:
        out.print(f"cell {given.cell} drew nothing at step {given.step}", highlight=False)
    return 0
