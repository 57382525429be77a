"""Composable expansions: Gesmundo & Maile 2023, arXiv 2308.06103."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from growjax.grow.blocks import from_starts, padding
from growjax.grow.building import restarted, started, target_sites, with_norm_eps
from growjax.grow.copying import along
from growjax.grow.factors import anew
from growjax.grow.leafwise import LeafFunction, Leafwise, each_leaf
from growjax.grow.operator import Operator
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import where_zeros_are_exact
from growjax.model.axes import ParamSpec
from growjax.model.decoder import init_leaf
from growjax.streams import Streams
from growjax.train.state import TrainState


def thinned(plan: WidthPlan, streams: Streams) -> WidthPlan:
    """The plan to norms whose epsilon makes up for the zeros in the residual stream."""
    return with_norm_eps(plan, plan.source.d_model / plan.target.d_model)


def zero_pad(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """New units are drawn afresh, their outgoing weights are zero, moments padded with zeros (longer heads are clones):
    the function is kept.

    Gesmundo & Maile 2023, section 3, definitions 3.1, 3.2 and 3.5 (MLP, heads, hidden dimension). Positions along
    head_dim are cloned by the law, where the paper pads them too (definitions 3.3 and 3.4). Zeros in the residual
    stream are made up for in the norms' gain and epsilon; under LayerNorm they shift the mean, and the function is kept
    only where d_model stays. One norm over all queries or keys sees new heads too: there it is kept only where heads
    stay.
    """
    new = restarted(started(state, plan, padding(plan)), plan)
    law = anew(new.law, plan)
    filled = _filled(plan, key=streams.at("init", 0))
    return new.replace(params=each_leaf(filled, new.params, plan), law=law)


def _filled(plan: WidthPlan, *, key: jax.Array) -> LeafFunction:
    """New units' own weights, drawn, in padded parameters."""

    def one(path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        random = dead = np.zeros((1,) * leaf.ndim, bool)
        for i, dim in enumerate(spec.dims):
            axis_map = plan.maps[dim.axis]
            if dim.axis not in ("embed", "heads", "kv_heads", "mlp") or not axis_map.grown:
                continue
            is_new = along(axis_map.is_new, i, leaf.ndim)
            if (dim.role, dim.axis == "embed") in (("writes", False), ("reads", True)):
                random = random | is_new  # a new unit's own weights; and zeros may be read by anything
            elif dim.role != "scales":
                dead = dead | is_new
        fresh = init_leaf(plan.target, path, spec, leaf.shape, first, key=key)
        return jnp.where(random & ~dead, fresh, leaf)

    return one


def _by_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    filled = _filled(plan, key=streams.at("init", 0))
    return from_starts(plan, padding(plan)).then(Leafwise((filled,)))


ZERO_PAD = Operator(
    "zero_pad", zero_pad, "published", "arXiv 2308.06103", where_zeros_are_exact,
    draws={"init": target_sites}, follows=thinned, clones=False, leafwise=_by_leaf,
)  # fmt: skip
