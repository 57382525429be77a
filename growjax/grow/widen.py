"""`widen`: a state, a plan and an operator's name to a candidate."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from growjax.config import OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.grow.leafwise import Leafwise
from growjax.grow.operator import GrowthData
from growjax.grow.plan import WidthPlan, check_same, vocabulary_grown
from growjax.grow.registry import parse_operator
from growjax.grow.vocab import grow_vocab, new_tokens
from growjax.limits import require_room
from growjax.mesh.cutting import mesh_of, on_host, settled
from growjax.model.decoder import param_shapes
from growjax.streams import Streams
from growjax.train.check import check_state
from growjax.train.optim import LawFactors
from growjax.train.state import TrainState, fresh_state


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

    A pure pytree transform, whose arrays are its own; `key` is the candidate's root key, of which the operator draws
    only its own streams at step 0. New tokens are added first, for every operator in the same way. `data` is for
    operators that train; `exchanged` gives streams by name the randomness of a replicate. Raises `UserError` for an
    unknown operator, a plan for another source or one that changes more than widths, what the operator cannot follow,
    a state whose arrays are not those of its configuration, or a candidate that cannot fit in memory.

    A state that lies cut on a mesh (`growjax.mesh`) gives a candidate that does, the same bits. Operators that only
    copy, `exact_copy`, `lockstep`, `asymmetric_reset`, `net2net` and `hypercloning`, and parts that change no weights,
    make it piece by piece, so that no array is ever whole. For others, and for new tokens, every process widens the
    whole state, and keeps its pieces.
    """
    if plan.source != state.config.model:
        raise UserError("the plan is for another source model", "make the plan from this state's own configuration")
    check_same(plan.source, plan.target)
    check_state(state)
    source, streams = state, Streams(key, exchanged)
    made = parse_operator(operator)
    own = made.follow(plan, state.config.optim, streams=streams)
    mesh = mesh_of(state.step)
    if mesh is None or not made.by_pieces(own):
        require_room(state.config.replace(model=plan.target))
        state = state if mesh is None else jax.tree.map(jnp.asarray, on_host(state, mesh))
    state, own = grow_vocab(state, own)
    new = made.apply(state, own, streams=streams, data=data)
    return _own(new if mesh is None else settled(new, mesh), source)


def _own(new: TrainState, source: TrainState) -> TrainState:
    """The candidate with every array its own: none of the source's, and none twice, so that either may be donated."""
    taken = {id(leaf) for leaf in jax.tree.leaves(source)}

    def one(leaf: jax.Array) -> jax.Array:
        leaf = jnp.copy(leaf) if id(leaf) in taken else leaf
        taken.add(id(leaf))
        return leaf

    return jax.tree.map(one, new)


def leafwise(
    plan: WidthPlan, optim: OptimConfig, *, operator: str = "exact_copy", key: jax.Array
) -> tuple[WidthPlan, Leafwise | None]:
    """The plan that `widen` follows, and what it does to parameters one by one; None where the operator has no such
    form. Nothing is widened, and no memory but that of the operator's own matrices is taken.

    Raises `UserError` where `widen` would, before anything is computed.
    """
    made, streams = parse_operator(operator), Streams(key)
    own = made.follow(plan, optim, streams=streams)
    functions = made.leafwise(vocabulary_grown(own), streams=streams)
    return own, functions and new_tokens(own).then(functions)


def given_factors(
    plan: WidthPlan, optim: OptimConfig, *, operator: str = "exact_copy", key: jax.Array
) -> LawFactors | None:
    """The factors that `widen` gives the optimizer of a source that had none. They follow from the plan alone: no
    parameter is made."""
    streams, made = Streams(key), parse_operator(operator)
    own = made.follow(plan, optim, streams=streams)
    config = TrainConfig(model=plan.source, optim=optim)

    @jax.jit
    def factors() -> LawFactors | None:  # as nothing else is asked of it, a compiler leaves parameters and moments out
        params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), param_shapes(plan.source))
        state, grown = grow_vocab(fresh_state(config, params), own)
        return made.apply(state, grown, streams=streams, data=None).law

    return factors()


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
