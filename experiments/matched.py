"""Two receipts of one study, cell by cell, whatever names their cells have: matched by what they are labelled.

    python -m experiments.matched BEFORE AFTER [--out FILE]

BEFORE and AFTER are folders that hold `NAME/receipt.json` for some of the published studies (an earlier commit's
`artifacts` is such a folder), made by code under which ids, or digests of configurations, were derived in another way.
Claim: every cell has the same digests (of its state, leaf by leaf; of the parameters after each step; of its trace; of
its ledger; of its program) and the same exact figures. Exits with 1 where the claim fails, or nothing is compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from growjax.files import write_text
from growjax.record.integrity import read_receipt
from growjax.schema import Fields, Record

STUDIES = ("smoke", "quick", "crossed", "regimes")
LABELS = ("kind", "source", "operator", "regime", "replicate", "lag")
NAMED = ("config",)
"""Digests that follow from how a configuration is written, not from what was computed."""


def by_label(receipt: Fields) -> dict[str, Record]:
    """Every cell by its label, with what it came to."""
    found: dict[str, Record] = {}
    for cell in receipt["cells"]:
        label = " ".join(str(cell[name]) for name in LABELS)
        if label in found:
            raise SystemExit(f"two cells are labelled {label}")
        digests = {name: value for name, value in cell["digests"].items() if name not in NAMED}
        found[label] = {"digests": digests, "exact": cell["exact"]}
    return found


def compared(before: Fields, after: Fields) -> Record:
    """Counts over the cells of two receipts of one study."""
    old, new = by_label(before), by_label(after)
    both = old.keys() & new.keys()
    differing = {
        label: sorted(
            name
            for part in ("digests", "exact")
            for name in old[label][part].keys() | new[label][part].keys()
            if old[label][part].get(name) != new[label][part].get(name)
        )
        for label in sorted(both)
    }
    other = {label: names for label, names in differing.items() if names}
    return {
        "cells": len(old.keys() | new.keys()),
        "cells that are the same": len(both) - len(other),
        "in one of the two alone": sorted(old.keys() ^ new.keys()),
        "cells that differ": other,
        "programs": len({c["digests"]["program"] for c in new.values() if "program" in c["digests"]}),
    }


def main(argv: list[str]) -> int:
    """Compares, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    found: Record = {}
    for name in STUDIES:
        places = [folder / name / "receipt.json" for folder in (given.before, given.after)]
        if all(place.exists() for place in places):
            found[name] = row = compared(*(read_receipt(place) for place in places))
            print(f"{name}: {row['cells that are the same']} of {row['cells']} cells are the same")
    if given.out is not None:
        write_text(given.out, json.dumps(found, indent=2, sort_keys=True) + "\n")
    return 0 if found and all(row["cells"] == row["cells that are the same"] for row in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
