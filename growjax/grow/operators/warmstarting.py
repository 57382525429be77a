"""Warmstarting: Mallik et al. 2024, arXiv 2411.07340."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from growjax.grow.building import clone, fresh, target_sites
from growjax.grow.copying import copy_leaf, new_entries, wide_shape
from growjax.grow.leafwise import LeafFunction, Leafwise, each_leaf
from growjax.grow.operator import Operator
from growjax.grow.options import Share
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import never
from growjax.model.axes import ParamSpec
from growjax.model.decoder import init_leaf
from growjax.streams import Streams
from growjax.train.state import TrainState


def shrink_perturb(state: TrainState, plan: WidthPlan, *, streams: Streams, shrink: Share = 0.4) -> TrainState:
    """The source's weights shrunk, zero-padded and added to a fresh draw of the target; the function is not kept.

    Mallik et al. 2024 (warmstarting, eq. 1) after Ash & Adams 2020. Gains and biases are kept, new ones fresh.
    """
    added = _added(plan, shrink, key=streams.at("init", 0))
    return fresh(clone(state, plan), each_leaf(added, state.params, plan))


def _added(plan: WidthPlan, shrink: float, *, key: jax.Array) -> LeafFunction:
    """Of old parameters, new ones."""

    def one(path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        drawn = init_leaf(plan.target, path, spec, wide_shape(leaf.shape, spec, plan), first, key=key)
        new = new_entries(spec, plan)
        old = copy_leaf(leaf, spec, plan)
        if spec.init == "normal":
            return drawn + jnp.where(new, 0.0, shrink * old).astype(leaf.dtype)
        return jnp.where(new, drawn, old)

    return one


def _by_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    return Leafwise((_added(plan, options["shrink"], key=streams.at("init", 0)),))


SHRINK_PERTURB = Operator(
    "shrink_perturb", shrink_perturb, "published", "arXiv 2411.07340", never,
    draws={"init": target_sites}, clones=False, leafwise=_by_leaf,
)  # fmt: skip
