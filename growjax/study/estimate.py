"""How long a study will take here: its FLOPs, over the rate at which this machine multiplies matrices of its shapes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from growjax.grow.plan import make_plan
from growjax.model.decoder import flops_per_token
from growjax.study.context import unwidened_lag
from growjax.study.making import steps_of
from growjax.study.recipes import StudyCells, study_cells
from growjax.study.selection import Selection
from growjax.study.spec import UNWIDENED, StudySpec

SHARE = 0.45
"""Of the rate of products alone, what a study reaches with its measures, digests and compiling (0.45 to 0.6 at a width
of 128, the less the more programs there are)."""

FORWARD = 1 / 3
"""Of a training step's FLOPs, those of the loss alone."""


BRIEF = 2e13
"""FLOPs of a study that is over before it is worth measuring anything for."""

LONG = 600.0
"""Seconds beyond which a study is announced with its estimate before it starts."""


class Estimate(NamedTuple):
    """What is still to be done; of no result a part."""

    cells: int
    seconds: float
    workers: int

    def __str__(self) -> str:
        minutes = round(self.seconds / 60)
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"about {self.cells} cells, about {minutes // 60}:{minutes % 60:02} hours on {workers}"


def estimate(spec: StudySpec, directory: Path, *, workers: int) -> Estimate:
    """What a study has still to do in a run directory; 0 seconds where that is little. Measures the machine for a
    moment, as busy as it is. A vocabulary that the corpus does not fill makes it a little less."""
    source = spec.train_config(spec.data.vocab_size).model
    plan = make_plan(source, spec.to.of(source))
    cells, length = study_cells(spec, unwidened_lag(spec, source, plan.target)), spec.data.seq_len
    full = {path.parent.name for path in directory.glob("cells/*/result.json")}
    steps = _steps(spec, cells, full)
    tokens = spec.data.batch_size * length
    flops = tokens * sum(steps[wide] * flops_per_token(m, length) for wide, m in enumerate((source, plan.target)))
    left = sum(recipe.id not in full for recipe in cells.all()) + extensions_left(spec, cells, full)
    rate = _product_rate(tokens, plan.target.d_model) if flops > BRIEF else math.inf
    return Estimate(left, flops / (SHARE * rate) / workers, workers)


def _steps(spec: StudySpec, cells: StudyCells, full: set[str]) -> list[float]:
    """Training steps left, of the source's width and of the target's; an evaluation counts as its share of one."""
    steps = [0.0, 0.0]
    for wide, lag, every in runs_left(spec, cells, full):
        steps[wide] += lag + (lag / every + 1) * spec.data.eval_batches * FORWARD
    return steps


def runs_left(spec: StudySpec, cells: StudyCells, full: set[str]) -> Iterator[tuple[bool, int, int]]:
    """Of each run that is left: whether it is of the target's width, its steps, and the steps between evaluations. A
    race is one run of all its budget; what an operator trains before step 0 is a run of its own."""
    trained = [step for step in spec.source_steps if step]
    strides = [b - a for a, b in zip((0, *trained), trained, strict=False)]
    for chain in cells.sources.values():
        for recipe, stride in zip(chain, strides, strict=True):
            if recipe.id not in full:
                yield False, stride, spec.source_eval_every
    ends = [t.continuation or t.probe for t in cells.trajectories] + [c.recipe for c in cells.crossed]
    for recipe in ends:
        if recipe.id not in full:
            yield recipe.label["operator"] != UNWIDENED, recipe.parameters["lag"], spec.eval_every
    if isinstance(spec, Selection):
        yield True, spec.budget, spec.eval_every
    else:
        made = [steps_of(recipe.label["operator"]) for recipe in cells.candidates if recipe.id not in full]
        yield from ((True, steps, steps) for steps in made if steps)
    for _ in range(extensions_left(spec, cells, full)):
        yield True, spec.long_lag, spec.eval_every


def extensions_left(spec: StudySpec, cells: StudyCells, full: set[str]) -> int:
    """How many cells of the long lag are left, whoever the finalists will be."""
    if isinstance(spec, Selection):
        return 0
    places = spec.states() * len(spec.regimes)
    most = min(len(cells.possible), places * spec.finalists * spec.few_replicates)
    return max(0, most - sum(e.recipe.id in full for e in cells.possible))


def _product_rate(tokens: int, width: int) -> float:
    """FLOPs a second of products [tokens, width] x [width, 4 width] in float32, the best of a few rounds."""
    a, b = jnp.ones((tokens, width), jnp.float32), jnp.ones((width, 4 * width), jnp.float32)
    product = jax.jit(lambda a, b: a @ b)
    jax.block_until_ready(product(a, b))
    times = max(1, round(2e9 / (8 * tokens * width * width)))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready([product(a, b) for _ in range(times)])
        best = min(best, (time.perf_counter() - began) / times)
    return 8 * tokens * width * width / best
