"""Row B10 on real machines: the published studies beside receipts that another machine made of the same studies.

    python -m experiments.two_cpus --others DIR [--out artifacts/two-cpus.json]

DIR holds what another machine wrote, by the published names: `DIR/quick/receipt.json`, `DIR/run_keys/receipt.json`,
`DIR/regimes/receipt.json` (an earlier commit's `artifacts` is such a folder). Claim: every cell, known by its label,
has the same result: each of its digests (of the state, of states at evaluations, of parameters after each step,
of losses, of the ledger, of the program) and every figure, as exact hexadecimal floats. Exits with 1 where the claim
fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from experiments.matched import by_label, compared
from growjax.files import write_text
from growjax.record.integrity import read_receipt
from growjax.schema import Fields, Record
from growjax.source import one_digest

STUDIES = ("quick", "crossed", "regimes")
PUBLISHED = Path("artifacts")


def described(receipt: Fields) -> Record:
    """Which machine made a receipt, and which receipt it is."""
    environment = receipt["environment"]
    return {
        "root": receipt["root"],
        "source code": one_digest(receipt["source_code"]),
        "cpu": environment["cpu"],
        "jaxlib": environment["packages"]["jaxlib"],
        "python": environment["python"],
    }


def beside(one: Fields, other: Fields) -> Record:
    """Two receipts of one study, cell by cell, and the machines that made them."""
    found, cells = compared(other, one), by_label(one)
    others = sorted({*found["in one of the two alone"], *found["cells that differ"]})
    states = [len(cell["digests"].get("state_at", ())) for label, cell in cells.items() if label not in others]
    return {
        "here": described(one),
        "there": described(other),
        "cells": found["cells"],
        "cells that are the same": found["cells that are the same"],
        "states at evaluations that are the same": sum(states),
        "other cells": others,
    }


def main() -> int:
    """Compares, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=PUBLISHED / "two-cpus.json")
    given = parser.parse_args()
    found = {}
    for name in STUDIES:
        one, other = (read_receipt(place / name / "receipt.json") for place in (PUBLISHED, given.others))
        found[name] = row = beside(one, other)
        models = " and ".join(row[side]["cpu"]["model"] for side in ("there", "here"))
        print(f"{name}: {row['cells that are the same']} of {row['cells']} cells are the same on {models}")
    write_text(given.out, json.dumps(found, indent=2, sort_keys=True) + "\n")
    return 0 if all(row["cells"] == row["cells that are the same"] for row in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
