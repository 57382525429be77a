"""What widening a state costs on a mesh, and what a selection among candidates costs.

Bytes of states are exact. Seconds are estimates: bytes over the shares of a chip's figures (`growjax.plan.roofline`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from growjax.config import OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.grow.plan import WidthPlan
from growjax.grow.registry import parse_operator
from growjax.grow.widen import given_factors
from growjax.mesh.rules import MeshShape
from growjax.model.decoder import param_shapes
from growjax.plan.chips import Chip
from growjax.plan.memory import leaves
from growjax.plan.roofline import axis_link, shares_of
from growjax.select.race import ladder, least_budget
from growjax.streams import root_key
from growjax.train.optim import LawFactors
from growjax.train.state import TrainState, fresh_state


class Widening(NamedTuple):
    """What it takes to make a wide start by an operator that copies."""

    read: int
    """Bytes of the source's state."""
    written: int
    """Bytes of the target's state."""
    moved: int
    """Bytes that each chip receives from others: every old piece goes round."""
    seconds: float
    peak: int
    """Bytes that a chip holds: its pieces of both states, and of the largest array the piece that goes by."""


class Selection(NamedTuple):
    """What a race among candidates takes at most."""

    candidates: int
    rungs: tuple[int, ...]
    steps: int
    """Training steps of the target, all candidates together."""
    side_by_side: int
    """Candidates that train at a time."""
    seconds: float
    chip_hours: float
    disk: int
    """Bytes: the source, a wide start of each candidate, and the state in which each ended the first rung."""


def shapes_of(config: TrainConfig, law: LawFactors | None = None) -> TrainState:
    """The shapes of a state at step 0, of any size: no array is made."""
    made: Any = jax.eval_shape(
        lambda: fresh_state(config, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), param_shapes(config.model)))
    )
    return made.replace(law=law)


def target_shapes(plan: WidthPlan, optim: OptimConfig, *, operator: str, seed: int = 1) -> TrainState:
    """The shapes of the state that an operator makes of a source without factors, its own factors included; one that
    trains is taken to leave none. Raises `UserError` where the operator cannot follow the plan."""
    key = root_key(seed, "study")
    try:
        law = jax.eval_shape(lambda: given_factors(plan, optim, operator=operator, key=key))
    except UserError:
        parse_operator(operator)  # an unknown one
        law = None
    return shapes_of(TrainConfig(plan.target, optim), law)


def widening(source: TrainState, target: TrainState, mesh: MeshShape, chip: Chip) -> Widening:
    """Of a state on a mesh, by an operator that copies."""
    old, new, shares = list(leaves(source, mesh)), list(leaves(target, mesh)), shares_of(chip)
    moved, seconds = 0, 0.0
    for row in old:
        for over in row.cut:
            if over is not None:
                size = row.piece * (mesh.along(over) - 1)
                moved += size
                seconds += size / (shares.link * axis_link(mesh, over, chip))
    held, made = sum(row.piece for row in old), sum(row.piece for row in new)
    seconds += (held + made + moved) / (shares.memory * chip.bandwidth)
    by_size = max(row.piece for row in old)
    return Widening(sum(row.whole for row in old), sum(row.whole for row in new), moved, seconds, held + made + by_size)


def selecting(
    source: TrainState, target: TrainState, *, candidates: int, budget: int, horizon: int, first: int, every: int,
    chips: int, each: int, step: float,
) -> Selection:  # fmt: skip
    """A race within a budget of training steps, each taking `step` seconds on `each` of the `chips`. Raises
    `UserError` for a budget that does not take every candidate to the first rung."""
    rungs = ladder(horizon, every, first)
    least = least_budget(("",) * candidates, rungs)
    if budget < least:
        raise UserError(
            f"a budget of {budget} steps does not take {candidates} candidates to lag {rungs[0]}",
            f"give at least {least}",
        )
    beside = max(1, min(chips // each, candidates))
    seconds = math.ceil(budget / beside) * step
    one = MeshShape()
    states = [sum(row.whole for row in leaves(state, one)) for state in (source, target)]
    disk = states[0] + 2 * candidates * states[1]
    return Selection(candidates, rungs, budget, beside, seconds, budget * step * each / 3600, disk)
