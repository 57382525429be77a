"""New tokens: the vocabulary grows before anything else does, and no operator needs to know of it.

A new token's row is the mean of the old ones, in the table and in an untied head (Hewitt 2021): no old token loses more
than the new ones' share of a softmax. It has no direction in the moments (m = 0), the old rows' mean size (v) and their
largest count, where counts are kept by entry. The logits of the old tokens stay as they are.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import chex
import jax
import jax.numpy as jnp

from growjax.grow.leafwise import Leafwise
from growjax.grow.plan import WidthPlan, vocabulary_grown
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import param_specs
from growjax.train.state import TrainState

Rows = Literal["mean", "most", "zero"]


@partial(jax.jit, static_argnames=("position", "rows", "of"))
def _extended(leaf: jax.Array, *, position: int, rows: int, of: Rows) -> jax.Array:
    shape = [rows if i == position else n for i, n in enumerate(leaf.shape)]
    new = {
        "mean": lambda: jnp.mean(leaf, axis=position, keepdims=True),
        "most": lambda: jnp.max(leaf, axis=position, keepdims=True),
        "zero": lambda: jnp.zeros((), leaf.dtype),
    }[of]()
    return jnp.concatenate([leaf, jnp.broadcast_to(new, shape)], axis=position)


def new_tokens(plan: WidthPlan) -> Leafwise:
    """What `grow_vocab` does to parameters."""
    rows = plan.maps["vocab"].new - plan.maps["vocab"].old
    if not rows:
        return Leafwise()

    def tables(spec: ParamSpec) -> bool:
        return any(dim.axis == "vocab" for dim in spec.dims)

    def one(path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        for position, dim in enumerate(spec.dims):
            if dim.axis == "vocab":
                leaf = _extended(leaf, position=position, rows=rows, of="mean")
        return leaf

    return Leafwise((one,), tables)


def grow_vocab(state: TrainState, plan: WidthPlan) -> tuple[TrainState, WidthPlan]:
    """The source with the target's vocabulary, and the plan that is left from there."""
    axis_map = plan.maps["vocab"]
    if not axis_map.grown:
        return state, plan
    left = vocabulary_grown(plan)

    def extend(tree: chex.ArrayTree, of: Rows) -> chex.ArrayTree:
        def one(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
            found = [i for i, d in enumerate(spec.dims) if d.axis == "vocab" and leaf.ndim and leaf.shape[i] > 1]
            for position in found:
                leaf = _extended(leaf, position=position, rows=axis_map.new - axis_map.old, of=of)
            return leaf

        return map_specs(one, param_specs(plan.source), tree)

    old = state.opt_state
    opt_state = old._replace(mu=extend(old.mu, "zero"), nu=extend(old.nu, "mean"), count=extend(old.count, "most"))
    grown = state.replace(
        params=extend(state.params, "mean"),
        opt_state=opt_state,
        config=state.config.replace(model=left.source),
    )
    return grown, left
