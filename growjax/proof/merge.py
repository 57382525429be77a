"""`merge`: two runs of one environment as one run, as if the whole had been filled in one place.

Halves may be of other seeds, steps, operators, regimes or replicates, or the same study filled in part; they may
overlap. What both hold must be the same, cell by cell.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, cast

from growjax.config import Config
from growjax.data.tokens import INFO
from growjax.errors import CheckFailed, UserError
from growjax.files import require_path, whole_directory
from growjax.proof.differences import cell_difference, cell_start
from growjax.proof.verify import model_of
from growjax.record.cell_types import CellRecord
from growjax.record.comparison import first_difference, with_operators
from growjax.record.integrity import check_result, check_stored, open_receipt, recorded_tokens
from growjax.record.reader import typed_cell
from growjax.record.receipt_types import Begun, Receipt
from growjax.record.rundir import RunDir, results_digest
from growjax.schema import SCHEMA, Record, reads
from growjax.study.finalists import with_finalists
from growjax.study.growing import MAY_GROW, other_programs
from growjax.study.receipt import cells_of, spec_of
from growjax.study.reuse import require_same
from growjax.study.runner import programs_of
from growjax.study.selection import Selection
from growjax.study.spec import StudySpec


class Merged(NamedTuple):
    """What came of it."""

    cells: int
    """How many the merged run holds."""
    both: int
    """How many both halves held, and alike."""
    missing: int
    """How many the merged study still lacks."""
    results: str
    """Digest of all cells' results: that of the same study filled in one go, once none is missing."""
    root: str


class _Half(NamedTuple):
    run: RunDir
    receipt: Receipt | Begun
    """With the cells that lie in its directory."""
    cells: dict[str, CellRecord]


def merge(a: Path, b: Path, out: Path) -> Merged:
    """Merges two run directories into the new one `out`, which appears whole or not at all.

    Where both hold every cell that the merged study has, `out` is finished, with one receipt; or else it is a run that
    `study` goes on with. Raises `NotComparable` with the field in which environment, pins or modules differ,
    `UserError` with the field in which the studies do not fit each other, `CheckFailed` with the cell that both hold
    and that is not the same, or with the place of what is damaged.
    """
    require_path(out)
    if out.exists():
        raise UserError(f"{out} is there already", "choose another --out")
    halves = (_half(a), _half(b))
    require_same(halves[0].receipt, halves[1].receipt)
    spec = merged_spec(*(spec_of(half.receipt) for half in halves))
    for half in halves:
        fault = other_programs(spec, spec_of(half.receipt))
        if fault is not None:
            raise UserError(f"{half.run.path} does not fit the merged study: {fault}", "merge parts of one study")
    both = _same_cells(*halves)
    found = {**halves[1].cells, **halves[0].cells}
    known = cells_of(cast("Begun", {**halves[0].receipt, "cells": [*found.values()]}), spec)
    missing = [r.id for r in known.all() if r.id not in found]
    if not missing:
        known = with_finalists(known, spec, cast("Iterable[Mapping]", found.values()))
        missing = [r.id for r in known.all() if r.id not in found]
        found = {r.id: found[r.id] for r in known.all() if r.id in found}
    with whole_directory(out) as folder:
        root = _write(RunDir(folder), halves, spec, found, whole=not missing)
    return Merged(len(found), both, len(missing), results_digest(found.values()), root)


def _half(path: Path) -> _Half:
    run = RunDir(path)
    receipt = open_receipt(path)
    if receipt["schema"] != SCHEMA:
        raise UserError(f"{path} has receipt schema {receipt['schema']}", f"merge it with {reads(receipt['schema'])}")
    spec = spec_of(receipt)
    if isinstance(spec, Selection):
        raise UserError(f"{path} holds a selection", "merge runs of one study")
    if not (run.data / INFO).exists() or not run.cells.is_dir():
        raise UserError(f"{path} is no run directory with its cells", "name the directory that the study filled")
    recorded = {cell["id"]: cell for cell in receipt["cells"]}
    cells: dict[str, CellRecord] = {}
    for file in sorted(run.cells.glob("*/result.json")):
        cell = typed_cell(check_result(file), str(file))
        if cell["id"] != file.parent.name:
            raise CheckFailed(f"{file} is the result of another cell")
        cells[cell["id"]] = cell
    lost = sorted(recorded.keys() - cells.keys())
    if lost:
        raise UserError(f"{path} lacks cell {lost[0]}, which its receipt has", "name the directory as it was filled")
    if any(cell["kind"] == "data" for cell in cells.values()):  # what an earlier command asked for may lie there too
        own = cells_of(cast("Begun", {**receipt, "cells": [*cells.values()]}), spec).known
        cells = {name: cell for name, cell in cells.items() if name in own}
    held = cast("Receipt | Begun", {**receipt, "cells": [recorded.get(name, cell) for name, cell in cells.items()]})
    check_stored(path, held)
    return _Half(run, held, cells)


def merged_spec(a: StudySpec, b: StudySpec) -> StudySpec:
    """The study that has the cells of both. Raises `UserError` with the field in which they do not fit each other.

    What says which cells there are is put together: names and numbers one behind the other, replicates and lags by the
    larger. All else must be the same, and so must streams that are exchanged, and crossed levels where both have some.
    """
    together: Record = {}
    for name in MAY_GROW:
        old, new = getattr(a, name), getattr(b, name)
        if name == "stream" and old != new:
            raise _unlike(a, b, name)
        if isinstance(old, Config):
            if old and new and old != new:
                raise _unlike(a, b, name)
            together[name] = old or new
        elif isinstance(old, tuple):
            union = tuple(dict.fromkeys((*old, *new)))
            together[name] = tuple(sorted(union)) if name in ("source_seeds", "source_steps") else union
        else:
            together[name] = old if isinstance(old, str) else max(old, new)
    for name in StudySpec.__dataclass_fields__:
        if name not in MAY_GROW and getattr(a, name) != getattr(b, name):
            raise _unlike(a, b, name)
    pool = tuple(name for name in together["pool"] if name not in together["operators"])
    regimes = tuple(name for name in together["family_regimes"] if name not in together["regimes"])
    return a.replace(**{**together, "pool": pool, "family_regimes": regimes})


def _unlike(a: StudySpec, b: StudySpec, name: str) -> UserError:
    old, new = (spec.to_dict().get(name) for spec in (a, b))
    return UserError(f"the two studies differ: {first_difference(old, new, name)}", "merge parts of one study")


def _same_cells(a: _Half, b: _Half) -> int:
    """How many cells both hold; raises `CheckFailed` with the first that is not the same."""
    both = sorted(a.cells.keys() & b.cells.keys())
    recorded = {**b.cells, **a.cells}
    for name in both:
        cell, other = a.cells[name], b.cells[name]
        found = cell_difference(cell, other, start=cell_start(cell, recorded), model=model_of(a.receipt, cell))
        if found:
            raise CheckFailed(f"{a.run.path} and {b.run.path} hold cell {name}, and not the same: {found}")
    tokens = [recorded_tokens(half.run.data).digest for half in (a, b)]
    if tokens[0] != tokens[1]:
        raise CheckFailed(f"{a.run.path} and {b.run.path} were made of other tokens")
    return len(both)


def _write(
    run: RunDir, halves: tuple[_Half, _Half], spec: StudySpec, found: dict[str, CellRecord], *, whole: bool
) -> str:
    """Fills the folder of the merged run; returns its receipt's root."""
    a, b = halves
    shutil.copytree(a.run.data, run.data)
    run.cells.mkdir()
    for name in found:
        half = a if name in a.cells else b
        shutil.copytree(half.run.cells / name, run.cells / name)
    parts = ("schema", "environment", "pins", "source_code", "preflight", "measures", "operators")
    head: Record = {name: value for name in parts if (value := a.receipt.get(name)) is not None}
    head = with_operators({**head, "config": spec.to_dict()}, b.receipt)
    if not whole:
        return run.write_receipt(head, [])
    tokens = recorded_tokens(a.run.data)
    inputs = {name: tokens.info[field] for name, field in (("corpus", "source"), ("corpus_digest", "corpus_digest"))}
    of_halves = [cast(Record, half.receipt).get("inputs", {}).get("sources", {}) for half in halves]
    sources = {digest: hint for one in of_halves for digest, hint in one.items()}
    inputs |= {"sources": sources} if sources else {}
    records = [cast(Record, cell) for cell in found.values()]
    return run.write_receipt(
        {**head, "inputs": {**inputs, "tokens": tokens.digest}, "programs": programs_of(records)}, records
    )
