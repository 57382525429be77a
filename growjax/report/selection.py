"""The page of a selection, its figures and its tables."""

from __future__ import annotations

from pathlib import Path

from growjax.config import canonical_json
from growjax.record.digested import write_with_digests
from growjax.select.rows import SelectionSummary


def write_selection(directory: Path, summary: SelectionSummary) -> list[Path]:
    """Writes `selection.json` under `directory`, and returns the paths."""
    return write_with_digests(Path(directory), {"selection.json": canonical_json(summary) + "\n"})
