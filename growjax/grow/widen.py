"""`widen`: a state, a plan and an operator's name to a candidate."""

from __future__ import annotations

from collections.abc import Mapping

import jax

from growjax.config import OptimConfig
from growjax.errors import UserError
from growjax.grow.operator import GrowthData
from growjax.grow.plan import WidthPlan
from growjax.grow.registry import parse_operator
from growjax.grow.vocab import grow_vocab
from growjax.streams import Streams
from growjax.train.state import TrainState


def widen(
    state: TrainState,
    plan: WidthPlan,
    *,
    operator: str = "exact_copy",
    key: jax.Array,
    data: GrowthData | None = None,
    exchanged: Mapping[str, int] | None = None,
) -> TrainState:
    """The candidate that `operator` (as in `perturbed:sigma=0.05+moments:become=zeroed`) makes of `state`.

    A pure pytree transform; `key` is the candidate's root key, of which the operator draws only its own streams at step
    0. New tokens are added first, for every operator in the same way. `data` is for operators that train; `exchanged`
    gives streams by name the luck of a replicate. Raises `UserError` for an unknown operator, a plan for another
    source, or one that the operator cannot follow.
    """
    if plan.source != state.config.model:
        raise UserError("the plan is for another source model", "make the plan from this state's own configuration")
    streams = Streams(key, exchanged)
    made = parse_operator(operator)
    own = made.follow(plan, state.config.optim, streams=streams)
    state, own = grow_vocab(state, own)
    return made.apply(state, own, streams=streams, data=data)


def followed_plan(
    plan: WidthPlan,
    optim: OptimConfig,
    *,
    operator: str = "exact_copy",
    key: jax.Array,
    exchanged: Mapping[str, int] | None = None,
) -> WidthPlan:
    """The plan that `widen` follows with these arguments: the one it is given, but for operators that deal copies in a
    way of their own (`net2net` draws them). A candidate's escape and law are measured by it.

    Raises `UserError` where `widen` would, before anything is computed.
    """
    return parse_operator(operator).follow(plan, optim, streams=Streams(key, exchanged))
