"""`verify`: recorded cells computed again here, their ancestors included, and compared bit for bit.

A receipt is enough: it holds the whole specification, and says how to obtain the corpus and what digest it must have.
What a run directory still holds beside it is checked for damage first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from growjax import runtime
from growjax.config import ModelConfig
from growjax.errors import CheckFailed, NotComparable, UserError
from growjax.proof.differences import (
    Difference,
    cell_difference,
    cell_start,
    computed_otherwise,
    not_compared,
    tree_difference,
)
from growjax.record.cell_types import CellRecord
from growjax.record.cells import CONTINUED
from growjax.record.comparison import first_difference, registered_notes
from growjax.record.integrity import check_stored, finished_receipt
from growjax.record.receipt_types import Begun, Pins, Receipt
from growjax.record.rundir import COMPARABLE, LOCAL, RunDir
from growjax.record.store import as_tree, load_state
from growjax.record.types import Tree
from growjax.schema import SCHEMA, reads
from growjax.select.racing import check_ended
from growjax.source import changed_modules, source_notes
from growjax.study.receipt import check_named, given_folders, models, spec_of, tokenizer_file
from growjax.study.runner import Watch, run_study
from growjax.study.spec import UNWIDENED, StudySpec


class Verdict(NamedTuple):
    """What came of it."""

    outcome: str
    """`identical` or `different`."""
    cells: int
    """How many cells the receipt holds."""
    checked: int
    """How many were computed again, ancestors included."""
    stored: int
    """How many were there on disk, and undamaged."""
    difference: Difference | None
    notes: list[str]


def check_comparable(receipt: Receipt | Begun, *, here: Tree | None = None, pins: Pins | None = None) -> None:
    """Raises `NotComparable`, with the field, where the receipt's bits cannot be expected here.

    The CPU's model is none of those fields: under the pins it should not matter, and `verify` says so where it does.
    `here` and `pins` are this process's own if not given.
    """
    here, pins = here or runtime.environment(), pins or cast(Pins, runtime.pins())
    if receipt["schema"] != SCHEMA:
        raise NotComparable(
            f"not comparable: the receipt has schema {receipt['schema']}, which {reads(receipt['schema'])} verifies"
        )
    for field in COMPARABLE:
        if receipt["environment"].get(field) != here.get(field):
            where = first_difference(receipt["environment"].get(field), here.get(field), field)
            raise NotComparable(f"not comparable: {where}")
    if receipt["pins"] != pins:
        raise NotComparable(f"not comparable: {first_difference(receipt['pins'], pins, 'pins')}")


def choose(receipt: Receipt, words: tuple[str, ...]) -> set[str]:
    """Ids of the cells to compute again: `all`, so many, or the ids (or beginnings of them) that are named.

    A sample is the same in every call: the cells whose ids' SHA-256 come first.
    """
    ids = [cell["id"] for cell in receipt["cells"]]
    if words == ("all",):
        return set(ids)
    if len(words) == 1 and words[0].isdigit() and len(words[0]) < 8:
        return set(sorted(ids, key=lambda i: hashlib.sha256(i.encode()).hexdigest())[: int(words[0])])
    chosen = set()
    for word in words:
        found = [i for i in ids if i.startswith(word)]
        if len(found) != 1:
            raise UserError(
                f"{len(found)} cells have an id that begins with {word[:40]!r}", "give all, a number, or ids"
            )
        chosen |= set(found)
    return chosen


def verify(
    path: Path,
    out: Path,
    *,
    cells: tuple[str, ...] = ("all",),
    corpus: str | None = None,
    sources: Sequence[Path] = (),
    tokenizer: Path | None = None,
    workers: int = 1,
    watch: Watch | None = None,
) -> Verdict:
    """Computes cells of a receipt (a file, or a run directory) again into the run directory `out`, and compares.
    `sources` and `tokenizer` say where that lies which the receipt knows by digest; a run directory holds it.

    Raises `CheckFailed` with the place where what was recorded is damaged, `NotComparable` with the field where bits
    cannot be compared here, `UserError` where the corpus is not to be had or `path` holds no receipt.
    """
    receipt = finished_receipt(path)
    stored = check_stored(path, receipt) if path.is_dir() else 0
    chosen = choose(receipt, cells)
    check_comparable(receipt)
    spec = spec_of(receipt)
    _check_whole(receipt, spec)
    check_named(spec, corpus)
    sources = sources or given_folders(path, receipt)
    tokenizer = tokenizer or tokenizer_file(path, spec)
    run_study(spec, RunDir(out), workers=workers, watch=watch, only=chosen, corpus=corpus, sources=sources,
              tokenizer=tokenizer)  # fmt: skip
    again = finished_receipt(out)
    if again["inputs"]["corpus_digest"] != receipt["inputs"]["corpus_digest"]:
        raise UserError(
            f"the corpus {corpus or spec.data.corpus} is not the one of the receipt "
            f"(digest {again['inputs']['corpus_digest'][:12]}, recorded {receipt['inputs']['corpus_digest'][:12]})",
            "name the right one with --corpus",
        )
    found = _first(receipt, again, path, out)
    notes = [*_code_notes(receipt, again, found), *registered_notes(receipt, again)]
    for field in LOCAL:
        old, new = receipt["environment"].get(field), again["environment"].get(field)
        if old != new:
            notes.append(first_difference(old, new, field))
    if found and notes:
        raise NotComparable(f"not comparable: {'; '.join(notes)}; {found}")
    notes += not_compared(receipt["cells"], again["cells"])
    missing = {cell["id"] for cell in again["cells"]} - {cell["id"] for cell in receipt["cells"]}
    if missing:
        raise CheckFailed(f"the receipt lacks cell {min(missing)}, which its own configuration has")
    unknown = chosen - {cell["id"] for cell in again["cells"]}
    if unknown:
        text = f"cell {min(unknown)} is none that is computed for the receipt's configuration here"
        others = source_notes(receipt["source_code"], again["source_code"])
        raise NotComparable(f"not comparable: {'; '.join((*others, text))}") if others else CheckFailed(text)
    outcome = "different" if found else "identical"
    return Verdict(outcome, len(receipt["cells"]), len(again["cells"]), stored, found, notes)


def _check_whole(receipt: Receipt, spec: StudySpec) -> None:
    """Raises `CheckFailed` where a receipt's cells are not those that its own configuration has."""
    try:
        check_ended(receipt, spec)
    except UserError as error:
        raise CheckFailed(error.fault) from None


def _code_notes(receipt: Receipt, again: Receipt, found: Difference | None) -> list[str]:
    """What is to be said of growjax's own modules where they are not those of the receipt."""
    old, new = receipt["source_code"], again["source_code"]
    modules = ", ".join(changed_modules(old, new))
    if found is None or not modules:
        return source_notes(old, new)
    same = _programs_agree(receipt, again, found)
    return [f"the programs are the same; host code in {modules} changed" if same else f"{modules} changed"]


def _programs_agree(receipt: Receipt, again: Receipt, found: Difference) -> bool:
    """Whether every cell computed again was recorded with the same program, that of the difference among them."""
    old, new = ({cell["id"]: cell["digests"].get("program") for cell in run["cells"]} for run in (receipt, again))
    return old.get(found.cell or "") is not None and all(old[name] == new[name] for name in old.keys() & new)


def _first(receipt: Receipt, again: Receipt, path: Path, out: Path) -> Difference | None:
    """The first difference in the order in which cells are made."""
    recorded = {cell["id"]: cell for cell in receipt["cells"]}
    for cell in in_order(again["cells"]):
        old = recorded.get(cell["id"])
        if old is None:
            continue
        found = cell_difference(old, cell, start=cell_start(cell, recorded), model=model_of(receipt, cell))
        if found:
            why = computed_otherwise(old, cell)
            return _with_element(found._replace(what="; ".join(filter(None, (found.what, why)))), path, out)
    return None


def _with_element(found: Difference, path: Path, out: Path) -> Difference:
    """The element too, where both runs hold the state."""
    folders = [run / "cells" / str(found.cell) for run in (path, out)]
    if not all((folder / "state.json").exists() for folder in folders):
        return found
    states = [as_tree(load_state(folder)) for folder in folders]
    element = tree_difference(*states)
    return found if element is None else found._replace(leaf=element.leaf, element=element.element, ulps=element.ulps)


def in_order(cells: Sequence[CellRecord]) -> list[CellRecord]:
    """Cells, each after its parents."""
    known = {cell["id"]: cell for cell in cells}
    kinds = ("data", "given", "source", "candidate", *CONTINUED)
    todo = sorted(cells, key=lambda c: (kinds.index(c["kind"]), c["id"]), reverse=True)
    order: dict[str, CellRecord] = {}
    while todo:
        parents = [known[name] for name in todo[-1]["parents"] if name in known and name not in order]
        if parents:
            todo += reversed(parents)
        else:
            cell = todo.pop()
            order.setdefault(cell["id"], cell)
    return list(order.values())


def model_of(receipt: Receipt | Begun, cell: CellRecord) -> ModelConfig:
    """The model whose parameters a cell trains or holds."""
    source, target = models(receipt)
    return source if cell["kind"] in ("data", "given", "source") or cell["operator"] == UNWIDENED else target


def described(verdict: Verdict) -> dict[str, object]:
    """The verdict as plain data."""
    return {**verdict._asdict(), "difference": verdict.difference and verdict.difference._asdict()}
