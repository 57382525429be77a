"""Whether a study's record can be read again: asked before its first step."""

from __future__ import annotations

import itertools

import jax

from growjax.errors import UserError
from growjax.model.decoder import param_shapes
from growjax.record.reader import RECEIPT_BYTES, TEXT
from growjax.study.context import longest_run, models_of, unwidened_lag
from growjax.study.estimate import extensions_left, runs_left
from growjax.study.recipes import study_cells
from growjax.study.selection import Selection
from growjax.study.spec import StudySpec

STEP = 8 / 3
"""Characters of a step in a record, for each array of parameters."""

EVALUATION = 64
"""Characters of an evaluation."""

CELL = 300
"""Characters of all else in a cell, for each array of parameters."""


def require_recordable(spec: StudySpec) -> None:
    """Raises `UserError` where a study's receipt, or one cell of it, would be larger than a reader takes
    (`growjax.record.reader`): every step of a cell is in it, by a few bytes of each array of parameters."""
    source, target = models_of(spec, spec.data.vocab_size)
    arrays = len(jax.tree.leaves(param_shapes(source)))
    strides = [b - a for a, b in itertools.pairwise((0, *spec.source_steps))]
    longest = max([*strides, longest_run(spec, source, target)])
    if STEP * arrays * longest > TEXT:
        raise UserError(
            f"{longest} steps without a kept state in between are more than the record of a cell holds",
            f"give steps in between, {int(TEXT / (STEP * arrays))} apart at most",
        )
    cells = study_cells(spec, unwidened_lag(spec, source, target))
    runs = runs_left(spec, cells, set())
    more = spec.budget // spec.rungs[0] if isinstance(spec, Selection) else extensions_left(spec, cells, set())
    size = sum(STEP * arrays * steps + EVALUATION * steps // every for _, steps, every in runs)
    size += CELL * arrays * (len(cells.all()) + more)
    if size > RECEIPT_BYTES:
        raise UserError(
            f"the receipt would take some {size / 1e6:,.0f} MB, and {RECEIPT_BYTES / 1e6:,.0f} MB are read",
            "do it in parts, each in an --out of its own: seeds, operators or regimes apart",
        )
