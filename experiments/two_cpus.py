"""Row B10 on real machines: the published studies beside receipts that another machine made of the same studies.

    python -m experiments.two_cpus --others DIR [--out artifacts/two-cpus.json]

DIR holds what another machine wrote, by the published names: `DIR/quick/receipt.json`, `DIR/luck/receipt.json`,
`DIR/regimes/receipt.json` (an earlier commit's `artifacts` is such a folder). Claim: every cell has the same result,
which is each of its digests (of the state, of states at evaluations, of parameters after each step, of losses, of
the ledger, of the program) and every figure, as exact hexadecimal floats. Exits with 1 where the claim fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from growjax.config import json_digest
from growjax.files import write_text
from growjax.record.cells import result_of
from growjax.record.integrity import read_receipt
from growjax.source import one_digest

STUDIES = ("quick", "luck", "regimes")
PUBLISHED = Path("artifacts")


def told(receipt: dict[str, Any]) -> dict[str, Any]:
    """Which machine made a receipt, and which receipt it is."""
    environment = receipt["environment"]
    return {
        "root": receipt["root"],
        "source code": one_digest(receipt["source_code"]),
        "cpu": environment["cpu"],
        "jaxlib": environment["packages"]["jaxlib"],
        "python": environment["python"],
    }


def compared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two receipts of one study, cell by cell."""
    mine, theirs = ({c["id"]: json_digest(result_of(c)) for c in receipt["cells"]} for receipt in (one, other))
    same = dict(mine.items() & theirs.items())
    states = [len(c["digests"].get("state_at", ())) for c in one["cells"] if c["id"] in same]
    return {
        "here": told(one),
        "there": told(other),
        "cells": len(mine | theirs),
        "cells that are the same": len(same),
        "states at evaluations that are the same": sum(states),
        "other cells": sorted((mine | theirs).keys() - same.keys()),
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
        found[name] = row = compared(one, other)
        models = " and ".join(row[side]["cpu"]["model"] for side in ("there", "here"))
        print(f"{name}: {row['cells that are the same']} of {row['cells']} cells are the same on {models}")
    write_text(given.out, json.dumps(found, indent=2, sort_keys=True) + "\n")
    return 0 if all(row["cells"] == row["cells that are the same"] for row in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
