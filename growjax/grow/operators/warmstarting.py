"""Warmstarting: Mallik et al. 2024, arXiv 2411.07340."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from growjax.grow.building import clone, fresh, target_sites
from growjax.grow.copying import copy_leaf, new_entries
from growjax.grow.operator import Operator
from growjax.grow.options import Share
from growjax.grow.plan import WidthPlan
from growjax.grow.promises import never
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import init_params, param_specs
from growjax.streams import Streams
from growjax.train.state import TrainState


def shrink_perturb(state: TrainState, plan: WidthPlan, *, streams: Streams, shrink: Share = 0.4) -> TrainState:
    """The source's weights shrunk, zero-padded and added to a fresh draw of the target; the function is not kept.

    Mallik et al. 2024 (warmstarting, eq. 1) after Ash & Adams 2020. Gains and biases are kept, new ones fresh.
    """
    target = init_params(plan.target, key=streams.at("init", 0))

    def one(spec: ParamSpec, leaf: jax.Array, drawn: jax.Array) -> jax.Array:
        new = new_entries(spec, plan)
        old = copy_leaf(leaf, spec, plan)
        if spec.init == "normal":
            return drawn + jnp.where(new, 0.0, shrink * old).astype(leaf.dtype)
        return jnp.where(new, drawn, old)

    params = map_specs(one, param_specs(plan.source), state.params, target)
    return fresh(clone(state, plan), params)


SHRINK_PERTURB = Operator(
    "shrink_perturb", shrink_perturb, "published", "arXiv 2411.07340", never,
    draws={"init": target_sites}, clones=False,
)  # fmt: skip
