"""How far the order at an early lag holds at the end of a study: the table that `select` goes by.

python -m experiments.trust RECEIPT [RECEIPT ...] [--out growjax/select/trust.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from growjax import runtime

runtime.pin()

from growjax.files import write_text  # noqa: E402
from growjax.record.integrity import read_receipt  # noqa: E402
from growjax.record.receipt_types import Receipt  # noqa: E402
from growjax.select.trust import measured  # noqa: E402


def main() -> None:
    """Writes the table, and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("receipts", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: list[Receipt] = [read_receipt(path) for path in given.receipts]  # pyright: ignore[reportAssignmentType]
    text = json.dumps(measured(found), indent=1) + "\n"
    print(text, end="")
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
