"""`report`: tables, figures and the page of a run, from its receipt."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from growjax.cli.arguments import parse
from growjax.cli.select import print_selection
from growjax.cli.tables import console, print_study
from growjax.record.integrity import finished_receipt
from growjax.record.rundir import RunDir
from growjax.schema import Fields


@dataclasses.dataclass(frozen=True)
class ReportArguments:
    """Rebuild the report of a run from its records; nothing is computed anew."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    from growjax.report.page import write_report
    from growjax.report.selection import write_selection
    from growjax.select.summary import summarise_selection
    from growjax.study.claims import with_claims
    from growjax.study.receipt import spec_of
    from growjax.study.selection import Selection

    given = parse(ReportArguments, argv, verb="report")
    directory = RunDir(given.run)
    receipt = finished_receipt(directory.path)
    directory.check_own("report", "report/figures", "report/tables")
    if isinstance(spec_of(receipt), Selection):
        selection = summarise_selection(receipt)
        write_selection(directory.report, selection)
        _show(given, selection, lambda: print_selection(console(), directory.path, selection))
    else:
        summary = with_claims(receipt)
        write_report(directory.report, summary)
        _show(given, summary, lambda: print_study(directory.path, summary))
    return 0


def _show(given: ReportArguments, summary: Fields, printed: Callable[[], None]) -> None:
    if given.json:
        print(json.dumps({"directory": str(given.run), **summary}, sort_keys=True))
    else:
        printed()
