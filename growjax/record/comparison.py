"""Where two receipts, or parts of them, differ; and whether measures and operators that are not growjax's own are the
same in both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from growjax.config import canonical_json
from growjax.errors import CheckFailed, UserError
from growjax.record.integrity import check_result
from growjax.schema import Record

AFTER = {"probe", "continuation", "extension", "crossed", "rung"}
"""Kinds of cells that train after widening."""

REGISTERED = ("measures", "operators")
"""The parts of a receipt that say what is not growjax's own; absent where there is nothing."""


def differences(old: object, new: object, name: str) -> list[str]:
    """Every field in which two parts of a receipt differ, with both values."""
    within: list[str] = []
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            within += differences(old.get(key), new.get(key), f"{name}.{key}")
    return within or [f"{name} was {canonical_json(old)[:80]}, now {canonical_json(new)[:80]}"] * (old != new)


def first_difference(old: object, new: object, name: str) -> str:
    """The first field in which two parts of a receipt, known to differ, do so."""
    return differences(old, new, name)[0]


def other_registered(old: Mapping[str, object], new: Mapping[str, object]) -> str | None:
    """Why the cells of two runs, by their receipts or headers, may not stand side by side; None where they may. Every
    measure must be the same, since figures are averaged; so must an operator that both have."""
    before, now = ([*_by_name(run.get("measures"))] for run in (old, new))
    for name in [*before, *now]:
        if name not in now:
            return f"{name} was registered, and is not now"
        if name not in before:
            return f"{name} was not registered, and is now"
    found = registered_notes(old, new)
    return found[0] if found else "measures were registered in another order" if before != now else None


def with_untaken(old: Mapping[str, object], header: Mapping[str, object], cells: Path) -> Record:
    """What a run was begun with, its measures and operators as in a header of now wherever no cell was filled by one
    that is another; `cells` is the folder of the run's. So a measure that failed may be repaired."""
    if all(old.get(part) == header.get(part) for part in REGISTERED):
        return {**old}
    kinds = kinds_of(cells)

    def taken(run: Mapping[str, object]) -> list[object]:
        measures = run.get("measures")
        return [one for one in (measures if isinstance(measures, list) else ()) if kinds & _holders(one)]

    same = {"measures": taken(old) == taken(header), "operators": "candidate" not in kinds}
    return {**old, **{part: header.get(part) for part, unseen in same.items() if unseen}}


def kinds_of(cells: Path) -> set[str]:
    """Kinds of the filled cells in a run's folder of cells; a damaged one may be any."""
    found: set[str] = set()
    for path in cells.glob("*/result.json"):
        try:
            found.add(str(check_result(path)["kind"]))
        except (UserError, CheckFailed):
            found |= {"candidate", "probe"}
    return found


def _holders(measure: Mapping[str, object]) -> set[str]:
    """Kinds of cells that hold a measure."""
    return {"candidate"} if measure.get("where") == "zero_step" else AFTER


def registered_notes(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """A line for each measure or operator that two receipts both have, and not the same."""
    pairs = [(_by_name(old.get(part)), _by_name(new.get(part))) for part in REGISTERED]
    return [
        first_difference(before[name], now[name], name)
        for before, now in pairs
        for name in before
        if name in now and before[name] != now[name]
    ]


def with_operators(new: Record, old: Mapping[str, object]) -> Record:
    """A header with the operators of another one too."""
    both = {**_by_name(old.get("operators")), **_by_name(new.get("operators"))}
    return {**new, "operators": [both[name] for name in sorted(both)]} if both else new


def _by_name(described: object) -> dict[str, Mapping[str, object]]:
    """Measures or operators as a receipt has them, each by a name for people."""
    found: dict[str, Mapping[str, object]] = {}
    for one in described if isinstance(described, list) else ():
        kind = f"measure {one.get('name')} ({one['where']})" if "where" in one else f"operator {one.get('name')}"
        found[kind] = one
    return found
