"""Two runs beside each other: in which streams the randomness of their cells differs, and in which it is the same."""

from __future__ import annotations

from typing import TypedDict

from growjax.record.cell_types import CellRecord
from growjax.record.cells import ledger_of, stored
from growjax.record.receipt_types import Begun, Receipt
from growjax.record.types import Entry


def _name(cell: CellRecord) -> tuple[object, ...]:
    return cell["kind"], cell["source"], cell["operator"], cell["regime"], cell["replicate"], cell["lag"]


def _drawn(entry: Entry | None) -> tuple[object, ...] | None:
    return entry and (entry["key"], entry["first"], entry["last"], entry["sites"])


class Counts(TypedDict):
    same: int
    other: int


class Against(TypedDict):
    """What two runs share."""

    cells: int
    streams: dict[str, Counts]
    states: Counts


def against(receipt: Receipt | Begun, other: Receipt | Begun) -> Against:
    """Of cells that both runs have, by what they are: for each stream the cells whose draws are the same and those
    whose differ; and the states that were the same before any step (of sources and candidates).

    Equal keys, steps and sites are equal draws; that the keys are what drew is what an audit of each run shows.
    """
    theirs = {_name(cell): cell for cell in other["cells"] if cell["kind"] != "data"}
    streams: dict[str, Counts] = {}
    starts: Counts = {"same": 0, "other": 0}
    aligned = 0
    for cell in receipt["cells"]:
        twin = theirs.get(_name(cell))
        if twin is None:
            continue
        aligned += 1
        mine, its = ledger_of(cell) or {}, ledger_of(twin) or {}
        for stream in sorted(set(mine) | set(its)):
            row = streams.setdefault(stream, {"same": 0, "other": 0})
            row["same" if _drawn(mine.get(stream)) == _drawn(its.get(stream)) else "other"] += 1
        a, b = stored(cell), stored(twin)
        if a and b:
            starts["same" if a["state"] == b["state"] else "other"] += 1
    return {"cells": aligned, "streams": streams, "states": starts}
