"""`metrics.jsonl` of a cell, as a reader takes it: a line of names, one for each step, one for each evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from growjax.errors import CheckFailed, UserError
from growjax.record.cell_types import CellRecord
from growjax.record.file_types import StepLine, TraceHead
from growjax.record.reader import TRACE_BYTES, file_digest, parse, read_bytes, typed


class Trace(NamedTuple):
    """What a cell that trains wrote down of its steps."""

    params: list[str]
    """Names of the parameters' leaves, in the order of a line's digests."""
    steps: dict[int, StepLine]


def read_trace(path: Path) -> Trace | None:
    """The trace of a file; None where there is no file, as of a receipt that stands alone. Raises `CheckFailed` where
    it is damaged."""
    try:
        lines = read_bytes(path, TRACE_BYTES).decode("utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        values = [parse(line, path) for line in lines]
        head = typed(TraceHead, values[0] if values else None, str(path))
        steps = [typed(StepLine, v, str(path)) for v in values if isinstance(v, dict) and "step" in v]
    except (UserError, ValueError):
        raise CheckFailed(f"cell {path.parent.name}: {path} is damaged") from None
    return Trace(head["leaves"]["params"], {line["step"]: line for line in steps})


def check_trace(folder: Path, cell: CellRecord) -> None:
    """Raises `CheckFailed` where the trace in a cell's folder is not the one that its record names."""
    recorded, path = cell["digests"].get("trace"), folder / "metrics.jsonl"
    if recorded is None:
        return
    if not path.is_file():
        raise CheckFailed(f"cell {cell['id']}: {path} is gone")
    if file_digest(path) != recorded:
        raise CheckFailed(f"cell {cell['id']}: {path} is damaged")
