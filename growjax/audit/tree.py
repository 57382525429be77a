"""The tree of a run's streams: each with its key, where it is live, and what it draws at each step."""

from __future__ import annotations

from collections.abc import Iterable

from growjax.audit import draws
from growjax.audit.draws import Digests
from growjax.draws import key_hex
from growjax.schema import Record


def tree(cells: Iterable[Record], digests: Digests) -> list[Record]:
    """A row for each key that a stream has in a run: its place, the cells it is live in, and its sites.

    A site has, for each step it draws at, the key and the first 12 digits of the bits' digest. Cells that share keys
    share the row; a site of another shape (the unwidened source's) is a site of its own.
    """
    rows: dict[tuple, Record] = {}
    for cell in cells:
        for name, entry in cell["digests"]["ledger"].items():
            place = (entry["root"]["purpose"], entry["root"]["seed"], *entry["path"])
            row = rows.setdefault(place, {
                "name": name, "root": entry["root"], "path": entry["path"], "key": entry["key"],
                "first": entry["first"], "last": entry["last"], "live": {}, "sites": {},
            })  # fmt: skip
            row["first"], row["last"] = min(row["first"], entry["first"]), max(row["last"], entry["last"])
            where = " ".join(str(cell[f]) for f in ("kind", "regime") if cell[f] is not None)
            row["live"][where] = row["live"].get(where, 0) + 1
        for one in draws.served(cell["digests"]["ledger"]):
            entry = cell["digests"]["ledger"][one.stream]
            row = rows[entry["root"]["purpose"], entry["root"]["seed"], *entry["path"]]
            site = row["sites"].setdefault((one.path, repr(one.draw)), {
                "at": "/".join(map(str, one.path)), "draw": one.draw, "steps": {},
            })  # fmt: skip
            if one.step not in site["steps"]:
                bits = digests.one(one.key, one.draw).hex()[:12]
                site["steps"][one.step] = f"{key_hex(one.key)} {bits}"
    order = sorted(rows.values(), key=lambda row: (row["root"]["purpose"], row["root"]["seed"], str(row["path"])))
    return [{**row, "sites": list(row["sites"].values())} for row in order]
