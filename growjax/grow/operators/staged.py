"""Staged training: Shen et al. 2022, arXiv 2203.06211."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from growjax.config import OptimConfig
from growjax.errors import require
from growjax.grow.building import clone, cloned
from growjax.grow.copying import along
from growjax.grow.leafwise import LeafFunction, Leafwise, each_leaf
from growjax.grow.operator import Operator
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import where_clones_are_exact
from growjax.model.axes import ParamSpec
from growjax.streams import Streams
from growjax.train.state import TrainState


def staged(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Copies of the whole model side by side, each matrix block-diagonal, the head their mean: the function is kept.

    Shen et al. 2022, section 3.2. Gradients do not distinguish the blocks, so moments are the law's in every block; the
    published code has them block-diagonal too (m/2 and v/4, and 0 off the diagonal). Weights leave the cloned subspace,
    but nothing ever comes of it as long as no dropout distinguishes the copies. One whole multiple for every axis that
    grows.
    """
    new = clone(state, plan)
    return new.replace(params=each_leaf(_blocks(plan), new.params, plan))


def _blocks(plan: WidthPlan) -> LeafFunction:
    """Block-diagonal matrices of tiled ones."""

    def one(path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        sides, times = [], []
        for role in ("reads", "writes"):
            found = [i for i in spec.positions(role) if plan.maps[spec.dims[i].axis].grown]
            if not found:
                return leaf
            axis_map = plan.maps[spec.dims[found[0]].axis]
            sides.append(along(axis_map.copy_number, found[0], leaf.ndim))
            times.append(axis_map.new // axis_map.old)
        return leaf * jnp.asarray(np.where(sides[0] == sides[1], times[0], 0), leaf.dtype)

    return one


def _by_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    return cloned(plan, streams, options).then(Leafwise((_blocks(plan),)))


def _check(plan: WidthPlan, optim: OptimConfig, options: Options) -> None:
    multiples = {m.new / m.old for m in plan.maps.values() if m.grown and m.axis != "vocab"}
    described = ", ".join(f"{x:g}" for x in sorted(multiples))
    require(
        len(multiples) <= 1 and not any(m.uneven for m in plan.maps.values() if m.axis != "vocab"),
        f"it puts whole models side by side, and this plan grows its axes {described} times",
        "grow d_model, heads and d_ff by one whole multiple",
    )


STAGED = Operator("staged", staged, "published", "arXiv 2203.06211", where_clones_are_exact, _check, leafwise=_by_leaf)
