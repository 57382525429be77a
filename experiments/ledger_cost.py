"""What the ledger of draws costs a study.

    python -m experiments.ledger_cost --out artifacts/ledger-cost.json

Claim: under 1 % of a study's time goes into deriving ledgers. One source of the quick study and all its candidates are
run in this process, on one worker, with a stopwatch around every function that derives a ledger. About three minutes.
Exits with 1 where the claim fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from growjax import runtime

NOTES = runtime.pin()

from growjax.files import write_text  # noqa: E402
from growjax.record.rundir import RunDir  # noqa: E402
from growjax.schema import Record  # noqa: E402
from growjax.study import fill  # noqa: E402
from growjax.study.presets import presets  # noqa: E402
from growjax.study.runner import run_study  # noqa: E402
from growjax.study.spec import StudySpec  # noqa: E402


class Stopwatch:
    """Adds up the seconds that functions take."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def around(self, function: Callable[..., object]) -> Callable[..., object]:
        def timed(*words: object, **named: object) -> object:
            began = time.perf_counter()
            made = function(*words, **named)
            self.seconds += time.perf_counter() - began
            self.calls += 1
            return made

        return timed


def measured(spec: StudySpec, out: Path) -> Record:
    """The figures of a study, in which every cell but that of the tokens has a ledger."""
    watch = Stopwatch()
    with contextlib.ExitStack() as timed:
        for name in ("candidate_ledger", "trained_ledger"):
            timed.enter_context(mock.patch.object(fill, name, watch.around(getattr(fill, name))))
        began = time.perf_counter()
        cells = len(run_study(spec, RunDir(out))["cells"])
        whole = time.perf_counter() - began
    assert watch.calls == cells - 1, f"{watch.calls} ledgers of {cells} cells were timed"
    return {"seconds": whole, "seconds in ledgers": watch.seconds, "ledgers": watch.calls,
            "share": watch.seconds / whole, "cells": cells, "environment": runtime.environment()}  # fmt: skip


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/ledger-cost.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(presets()["quick"].replace(source_steps=(300,)), Path(folder) / "run")
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(json.dumps({k: v for k, v in figures.items() if k != "environment"}, indent=2))
    return 0 if figures["share"] < 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
