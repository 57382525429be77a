"""Records as text, with checksums that fit where they can be made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

from growjax.config import canonical_json
from growjax.record.checksums import with_checksum
from growjax.record.rundir import RunDir


def plain(record: Any) -> bytes:
    """A record's text, whatever stands in it."""
    return (json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n").encode()


def record_text(record: Any) -> bytes:
    """With the checksum that fits, where one can be made."""
    try:
        return (canonical_json(with_checksum({k: v for k, v in record.items() if k != "digest"})) + "\n").encode()
    except (ValueError, TypeError):
        return plain(record)


def receipt_text(receipt: Any) -> bytes:
    """A receipt with checksums that fit, where they can be made."""
    own = ("cells", "parts", "results", "root")
    try:
        cells = [with_checksum({k: v for k, v in cell.items() if k != "digest"}) for cell in receipt["cells"]]
        with mock.patch("growjax.record.rundir.write_text") as written:
            RunDir(Path()).write_receipt({k: v for k, v in receipt.items() if k not in own}, cells)
        return written.call_args.args[1].encode()
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return plain(receipt)
