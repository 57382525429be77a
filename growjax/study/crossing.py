"""Cells of crossed streams: one candidate, each stream in a replicate of its own; and the outcomes from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from growjax.measure.curves import auc
from growjax.record.cell_types import CellRecord
from growjax.record.cells import Cell
from growjax.record.store import state_digest
from growjax.schema import Record
from growjax.study.context import Context
from growjax.study.fill import stored_state
from growjax.study.ledgers import trained_ledger
from growjax.study.recipes import Crossed
from growjax.study.spec import StudySpec
from growjax.study.traces import divergence, trace_digests, trace_lines
from growjax.train.loop import copy_state


def fill_crossed(ctx: Context, crossed: Crossed, candidate: Record) -> Record:
    """Trains a candidate from its start to the longest lag under one level of each stream."""
    recipe = crossed.recipe
    inputs = {"tokens": ctx.tokens.digest, "parent": candidate["digests"]["state"]}
    found = ctx.run.find(recipe, inputs)
    if found is not None:
        return found
    run = ctx.account(recipe)
    live = ctx.keys(run)
    start = copy_state(stored_state(ctx, crossed.candidate.id))
    state, trace, program, module = ctx.train(start, live, start=0, steps=run.last, every=run.every)
    steps, losses = list(range(0, run.last + 1, run.every)), [float(x) for x in trace.eval_loss]
    diverged = divergence(trace, 0, run.every)
    area = float("nan") if diverged else auc(steps, losses)
    metrics = {"eval_steps": steps, "eval_loss": losses, "auc": area, "final_loss": losses[-1], **diverged}
    lines = trace_lines(trace, state, 0, run.every)
    ledger = trained_ledger(ctx, run, live)
    digests = {"state": state_digest(state), **trace_digests(lines, trace, program), "ledger": ledger}
    return ctx.run.write(Cell(recipe, inputs, digests, metrics, module), lines)


def _figure(value: float | None) -> float:
    return np.nan if value is None else value


def outcomes(cells: Iterable[CellRecord], spec: StudySpec, source: str) -> dict[str, np.ndarray]:
    """AUC [order, dropout, perturb] of every candidate of a source, by name.

    One that draws nothing when it is widened has the same outcome at every level of perturb.
    """
    levels = spec.crossed
    shape = (levels.order, levels.dropout, levels.perturb)
    found: dict[str, np.ndarray] = {}
    filled: Counter[str] = Counter()
    for cell in cells:
        if cell["kind"] == "crossed" and cell["source"] == source:
            at = np.unravel_index(cell["replicate"], shape)
            found.setdefault(cell["operator"], np.full(shape, np.nan))[at] = _figure(cell["metrics"]["auc"])
            filled[cell["operator"]] += 1
    for name, values in found.items():
        if filled[name] == levels.order * levels.dropout:
            values[:, :, 1:] = values[:, :, :1]
    return found
