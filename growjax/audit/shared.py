"""Whether a key served twice, and whether candidates that are compared shared their randomness: from ledgers alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from growjax.audit import draws
from growjax.audit.threefry import Key
from growjax.draws import key_hex
from growjax.record.cells import CONTINUED
from growjax.schema import Fields

Record = Fields


def described(cell: Record) -> str:
    """A cell, for people."""
    names = (cell["source"], cell["operator"], cell["regime"])
    replicate = "" if cell["replicate"] is None else f", replicate {cell['replicate']}"
    return f"cell {cell['id']} ({cell['kind']} {' '.join(str(n) for n in names if n is not None)}{replicate})"


def owner(cell: Record) -> tuple:
    """Cells of one owner follow each other: none of their keys may serve twice.

    Cells of different owners that name the same draw share it on purpose: that is what common randomness is.
    """
    if cell["kind"] == "source":
        return "source", cell["source"].rpartition("-step")[0]
    if cell["kind"] == "candidate":
        return "candidate", cell["id"]
    exchanged = sorted(cell["parameters"].get("exchanged", {}).items())
    return "continued", cell["source"], cell["operator"], cell["regime"], cell["replicate"], tuple(exchanged)


class Use(NamedTuple):
    """What the proof that no key served twice rests on."""

    keys: int
    """Distinct keys that served."""
    shared: int
    """Those of them that served several cells on purpose."""
    faults: list[str]


def reuse(cells: Iterable[Record]) -> Use:
    """Looks every key of a run up: one place for each key, one use by each owner, and none that others hang from."""
    places: dict[Key, tuple] = {}
    owners: dict[Key, set[tuple]] = {}
    parents: set[Key] = set()
    used: set[tuple[Key, tuple]] = set()
    faults: list[str] = []
    for cell in cells:
        mine = owner(cell)
        for entry in cell["digests"]["ledger"].values():
            parents |= {draws.root(entry["root"]["purpose"], entry["root"]["seed"]), draws.stream_key(entry)}
        for one in draws.served(cell["digests"]["ledger"]):
            entry = cell["digests"]["ledger"][one.stream]
            place = (entry["root"]["purpose"], entry["root"]["seed"], *entry["path"], one.step, *one.path)
            for number, key in enumerate(draws.served_keys(one.key, one.draw)):
                if places.setdefault(key, (*place, number)) != (*place, number):
                    faults.append(f"{described(cell)}: key {key_hex(key)} of {one.place} serves {places[key]} as well")
                if (key, mine) in used:
                    faults.append(f"{described(cell)}: key {key_hex(key)} of {one.place} served this run before")
                used.add((key, mine))
                owners.setdefault(key, set()).add(mine)
    faults += [f"key {key_hex(key)} serves {places[key]}, and other keys hang from it" for key in parents & set(places)]
    return Use(len(places), sum(len(o) > 1 for o in owners.values()), faults)


def common_keys(cells: Iterable[Record]) -> tuple[int, list[str]]:
    """(comparisons, faults): that all candidates of a source, regime, replicate and kind drew from the same keys.

    Batches must be the same draws altogether; masks come from the same keys, and differ in shape for the unwidened.
    """
    groups: dict[tuple, list[Record]] = {}
    for cell in cells:
        if cell["kind"] in CONTINUED:
            randomness = cell["replicate"]
            if cell["kind"] == "crossed":  # its number counts the randomness of widening as well
                randomness = tuple(sorted(cell["parameters"]["exchanged"].items()))
            part = cell["lag"] if cell["kind"] == "rung" else None  # others go equally far, but for the unwidened
            groups.setdefault((cell["kind"], cell["source"], cell["regime"], randomness, part), []).append(cell)
    faults = []
    for found in groups.values():
        found.sort(key=lambda cell: cell["id"])
        for cell in found[1:]:
            mine, other = cell["digests"]["ledger"], found[0]["digests"]["ledger"]
            for stream in sorted(set(mine) | set(other)):
                a, b = mine.get(stream), other.get(stream)
                fields = ("key", "path", "root", "first")
                same = a and b and all(a[f] == b[f] for f in fields)
                if not same or (stream == "order" and a["sites"] != b["sites"]):
                    what = "batches" if stream == "order" else f"randomness in {stream}"
                    faults.append(f"{described(cell)} and {described(found[0])} are compared and had different {what}")
    return len(groups), faults


def differences(stored: object, derived: object, name: str) -> list[str]:
    """Each field in which a stored ledger is not the derived one."""
    if isinstance(stored, dict) and isinstance(derived, dict):
        found: list[str] = []
        for key in sorted(set(stored) | set(derived)):
            if key not in derived:
                found.append(f"{name}.{key} is recorded, and this cell does not have it" if name else
                             f"stream {key} is recorded as drawn, and is not live in this cell")  # fmt: skip
            elif key not in stored:
                found.append(f"{f'{name}.{key}' if name else f'stream {key}'} is live in this cell, and not recorded")
            else:
                found += differences(stored[key], derived[key], f"{name}.{key}" if name else key)
        return found
    return [] if stored == derived else [f"{name} is recorded as {_brief(stored)} and derives to {_brief(derived)}"]


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) < 80 else f"{text[:77]}..."
