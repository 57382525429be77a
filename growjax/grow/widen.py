"""`widen`: a state, a plan and an operator's name to a candidate."""

from __future__ import annotations

import jax

from growjax.errors import UserError
from growjax.grow.operators import parse_operator
from growjax.grow.plan import WidthPlan
from growjax.streams import Streams
from growjax.train.state import TrainState


def widen(state: TrainState, plan: WidthPlan, *, operator: str = "exact_copy", key: jax.Array) -> TrainState:
    """The candidate that `operator` (a name, with options as in `perturbed:sigma=0.05`) makes of `state`.

    A pure pytree transform; `key` is the candidate's root key, of which the operator draws
    only its own streams at step 0. Raises `UserError` for an unknown operator or a plan for another source.
    """
    if plan.source != state.config.model:
        raise UserError("the plan is for another source model", "make the plan from this state's own configuration")
    chosen, options = parse_operator(operator)
    return chosen.fn(state, plan, streams=Streams(key), **options)
