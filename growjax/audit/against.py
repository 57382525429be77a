"""Two runs beside each other: in which streams the luck of their cells differs, and in which it is the same."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]


def _name(cell: Record) -> tuple:
    return tuple(cell[f] for f in ("kind", "source", "operator", "regime", "replicate", "lag"))


def against(receipt: Record, other: Record) -> Record:
    """Of cells that both runs have, by what they are: for each stream the cells whose draws are the same and those
    whose differ; and the states that were the same before any step (of sources and candidates).

    Equal keys, steps and sites are equal draws; that the keys are what drew is what an audit of each run shows.
    """
    theirs = {_name(cell): cell for cell in other["cells"] if cell["kind"] != "data"}
    streams: dict[str, dict[str, int]] = {}
    starts = {"same": 0, "other": 0}
    aligned = 0
    for cell in receipt["cells"]:
        twin = theirs.get(_name(cell))
        if twin is None:
            continue
        aligned += 1
        mine, its = cell["digests"].get("ledger", {}), twin["digests"].get("ledger", {})
        for stream in sorted(set(mine) | set(its)):
            a, b = ({f: e[f] for f in ("key", "first", "last", "sites")} if (e := side.get(stream)) else None
                    for side in (mine, its))  # fmt: skip
            row = streams.setdefault(stream, {"same": 0, "other": 0})
            row["same" if a == b else "other"] += 1
        if cell["kind"] in ("source", "candidate"):
            starts["same" if cell["digests"]["state"] == twin["digests"]["state"] else "other"] += 1
    return {"cells": aligned, "streams": streams, "states": starts}
