"""`report`: tables, figures and the page of a run, from its receipt."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from growjax.cli.arguments import parse
from growjax.cli.tables import print_study
from growjax.record.integrity import finished_receipt
from growjax.record.rundir import RunDir


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
    from growjax.study.claims import with_claims

    given = parse(ReportArguments, argv, verb="report")
    directory = RunDir(given.run)
    summary = with_claims(finished_receipt(directory.path))
    directory.check_own("report", "report/figures", "report/tables")
    write_report(directory.report, summary)
    if given.json:
        print(json.dumps({"directory": str(directory.path), **summary}, sort_keys=True))
    else:
        print_study(directory.path, summary)
    return 0
