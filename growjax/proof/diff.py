"""`diff`: the first difference between two runs or two states, down to the element where that can be known.

Digests after every step name step and leaf. The element follows from the state at that step, computed again from the
last one that both runs share: one of the two runs' digests fits it, and where the other's differ by one element and a
few units in the last place, the digest itself says which (a sum of mixed words: each candidate change adds a number of
its own, and only the right one gives the recorded sum).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from growjax.data.tokens import INFO
from growjax.digests import SECOND, leaf_digests, mix, named_leaves, salt, words_of
from growjax.errors import CheckFailed, NotComparable, UserError
from growjax.proof.differences import (
    Difference,
    cell_difference,
    cell_start,
    computed_otherwise,
    not_compared,
    tree_difference,
)
from growjax.proof.verify import check_comparable, in_order, model_of
from growjax.record.cell_types import CellRecord
from growjax.record.cells import CONTINUED
from growjax.record.comparison import differences, first_difference, registered_notes
from growjax.record.integrity import open_receipt, recorded_tokens
from growjax.record.receipt_types import Begun, Receipt
from growjax.record.rundir import COMPARABLE, LOCAL, RunDir
from growjax.record.store import DamagedState, as_tree, load_state
from growjax.record.traces import Trace, read_trace
from growjax.source import source_notes
from growjax.study.context import Context, make_context
from growjax.study.receipt import check_named, given_folders, spec_of, tokenizer_file
from growjax.study.replay import state_at
from growjax.study.runner import check, run_study
from growjax.train.state import TrainState

REACH = 4
"""How many units in the last place an element may be off to be found from digests alone."""


class Found(NamedTuple):
    """What two runs or states differ in."""

    difference: Difference | None
    compared: int
    """Cells (or states) that both sides have."""
    notes: list[str]


def diff(a: Path, b: Path, *, corpus: str | None = None) -> Found:
    """Compares two states (folders with state.json), or two runs (run directories or receipts). Raises `CheckFailed`
    with the place where one is damaged, `UserError` where there is none, or where it is none that growjax wrote."""
    states = [(path / "state.json").exists() for path in (a, b)]
    if all(states):
        first, second = _state(a), _state(b)
        found = tree_difference(as_tree(first), as_tree(second))
        if found is None and first.config != second.config:
            found = Difference(what=first_difference(first.config.every_field(), second.config.every_field(), "config"))
        return Found(found, 1, [])
    if any(states):
        raise UserError("one side is a state and the other is none", "name two states, or two runs")
    return _runs(a, b, corpus)


def _state(folder: Path) -> TrainState:
    try:
        return load_state(folder)
    except DamagedState as error:
        raise CheckFailed(error.fault) from None


def _runs(a: Path, b: Path, corpus: str | None) -> Found:
    left, right = open_receipt(a), open_receipt(b)
    notes = [
        first_difference(left.get(part), right.get(part), part)
        for part in ("schema", "config", "pins")
        if left.get(part) != right.get(part)
    ]
    notes += source_notes(left.get("source_code"), right.get("source_code"))
    notes += registered_notes(left, right)
    notes += [
        note
        for field in (*COMPARABLE, *LOCAL)
        for note in differences(left["environment"].get(field), right["environment"].get(field), field)
    ]
    notes += not_compared(left["cells"], right["cells"])
    others = {cell["id"]: cell for cell in right["cells"]}
    known = {cell["id"]: cell for cell in left["cells"]}
    shared = [cell for cell in in_order(left["cells"]) if cell["id"] in others]
    for cell in shared:
        other = others[cell["id"]]
        found = cell_difference(cell, other, start=cell_start(cell, known), model=model_of(left, cell))
        if found is None:
            continue
        why = computed_otherwise(cell, other)
        if why is not None:
            notes.append(f"cell {cell['id']}: {why}")
        traces = [read_trace(path / "cells" / cell["id"] / "metrics.jsonl") for path in (a, b)]
        if traces[0] and traces[1]:
            found = _in_trace(found, traces[0], traces[1]) or found
            if found.step is not None and found.element is None:
                found = _element(found, cell, left, a, (traces[0], traces[1]), corpus, notes)
        return Found(found, len(shared), notes)
    return Found(None, len(shared), notes)


def _in_trace(found: Difference, a: Trace, b: Trace) -> Difference | None:
    """The first step whose line differs, the first leaf in it, and which part of the step it comes from."""
    for x, y in zip(a.steps.values(), b.steps.values(), strict=False):
        if x == y:
            continue
        mine, other = words_of(x["leaves"]), words_of(y["leaves"])
        if mine.shape != other.shape or len(mine) != len(a.params):
            return None
        rows = np.flatnonzero(np.any(mine != other, axis=1))
        if x["exact"]["loss"] != y["exact"]["loss"]:
            part = "the forward pass: the losses differ"
        elif x["exact"]["grad_norm"] != y["exact"]["grad_norm"]:
            part = "the backward pass: the losses agree, the gradients' norms differ"
        else:
            part = "the update or what follows it: loss and gradients' norm agree"
        return found._replace(step=x["step"], leaf=a.params[rows[0]] if len(rows) else None, what=part, ulps=None)
    return None


def _element(
    found: Difference,
    cell: CellRecord,
    receipt: Receipt | Begun,
    run: Path,
    traces: tuple[Trace, Trace],
    corpus: str | None,
    notes: list[str],
) -> Difference:
    """The element too, from the state at that step, computed again here."""
    try:
        check_comparable(receipt)
        state = _state_at(cell, receipt, run, found.step or 0, corpus)
    except (UserError, CheckFailed, NotComparable) as error:
        notes.append(f"the element is not looked for: {error}")
        return found
    here = np.asarray(jax.jit(leaf_digests)(state.params))
    rows = [words_of(trace.steps[found.step or 0]["leaves"]) for trace in traces]
    fits = [np.array_equal(here, row) for row in rows]
    if not any(fits):
        notes.append("computed again here, the step gives neither run's digests")
        return found
    target = rows[1] if fits[0] else rows[0]
    differing = np.flatnonzero(np.any(here != target, axis=1))
    solved = list(_solve(state, here, target, differing))
    if len(solved) != 1:
        notes.append(f"more than one element differs, or by more than {REACH} ulps, in {len(differing)} leaves")
        return found
    leaf, element, ulps = solved[0]
    return found._replace(leaf=leaf, element=element, ulps=float(ulps))


def _state_at(cell: CellRecord, receipt: Receipt | Begun, path: Path, step: int, corpus: str | None) -> TrainState:
    """The state of a cell after a step, from what the run stores, or from its ancestors computed again."""
    spec = spec_of(receipt)
    check(spec)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(path)
        if not (run.data / INFO).exists() or not any(run.cells.glob("*/state.json")):
            check_named(spec, corpus)
            run = RunDir(Path(folder) / "again")
            sources, tokenizer = given_folders(path, receipt), tokenizer_file(path, spec)
            run_study(spec, run, only=set(cell["parents"]), corpus=corpus, sources=sources, tokenizer=tokenizer)
        return _replayed(make_context(spec, run, recorded_tokens(run.data)), cell["id"], step)


def _replayed(ctx: Context, cell_id: str, step: int) -> TrainState:
    recipe = ctx.cells.known.get(cell_id)
    if recipe is None or recipe.kind not in ("source", *CONTINUED):
        raise UserError(f"cell {cell_id} trains nothing", "compare the states themselves")
    return state_at(ctx, recipe, step)


def _solve(
    state: TrainState, here: np.ndarray, target: np.ndarray, differing: np.ndarray
) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """(leaf, element, ulps) of every single change by a few ulps that turns the digests `here` into `target`."""
    if len(differing) != 1:
        return
    number = int(differing[0])
    path, leaf = named_leaves(state.params)[number]
    leaf = np.asarray(leaf)
    words = np.ascontiguousarray(leaf).view(np.uint32).reshape(-1)
    per_element = leaf.dtype.itemsize // 4
    place = mix(np.arange(words.size, dtype=np.uint32) + salt(number))
    before = mix(words ^ place)
    wanted = target[number] - here[number]
    for off in (d for n in range(1, REACH + 1) for d in (n, -n)):
        after = mix((words + np.uint32(off & 0xFFFFFFFF)) ^ place)
        second = mix(after + SECOND) - mix(before + SECOND)
        for at in np.flatnonzero((after - before == wanted[0]) & (second == wanted[1])):
            if at % per_element == 0:  # the low word: the first of two, little-endian
                element = np.unravel_index(int(at) // per_element, leaf.shape)
                yield path, tuple(int(i) for i in element), abs(off)


def described(found: Found) -> dict[str, object]:
    """What was found, as plain data."""
    return {**found._asdict(), "difference": found.difference and found.difference._asdict()}
