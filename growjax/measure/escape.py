"""Escape: the share of a vector's length that lies outside the cloned subspace.

The subspace holds every tree that is s copy(theta) for some theta (weights and their changes), and every activation
whose copies carry one value. Escape is ||x - P x|| / ||x||, with P the orthogonal projection: 0 for clones that have
stayed clones, at most 1. Weights alone can mislead (noise that cancels on both sides leaves the subspace and changes
nothing), so updates and activations are measured beside them.
"""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from growjax.config import ModelConfig
from growjax.grow.law import LeafLaw, gauges, is_law, law_tree
from growjax.grow.plan import AxisMap, WidthPlan
from growjax.model.axes import ParamSpec
from growjax.model.decoder import Params, activations, param_specs


def _fold(x: jax.Array, axis_map: AxisMap, position: int) -> jax.Array:
    """Sums over the copies of each old position, along one axis."""
    sums = jax.ops.segment_sum(jnp.moveaxis(x, position, 0), axis_map.index, axis_map.old)
    return jnp.moveaxis(sums, 0, position)


def _fold_factor(squares: np.ndarray, axis_map: AxisMap, position: int) -> np.ndarray:
    """The same of a factor that may be one number for the whole axis, on the host: it is a constant of the program."""
    along = np.moveaxis(squares, position, 0)
    if along.shape[0] == 1:
        along = np.repeat(along, axis_map.new, axis=0)
    sums = np.zeros((axis_map.old, *along.shape[1:]))
    np.add.at(sums, axis_map.index, along)
    return np.moveaxis(sums, 0, position)


def _residual_squares(x: jax.Array, factor: np.ndarray, axes: list[tuple[int, AxisMap]]) -> tuple[jax.Array, jax.Array]:
    """(squared distance of x to the subspace {factor * copy(.)}, squared length of x), in float64."""
    x = x.astype(jnp.float64)
    factor = factor.reshape((1,) * (x.ndim - factor.ndim) + factor.shape)
    top, bottom = x * factor, factor * factor
    for position, axis_map in axes:
        top, bottom = _fold(top, axis_map, position), _fold_factor(bottom, axis_map, position)
    theta = top / bottom
    for position, axis_map in axes:
        theta = jnp.take(theta, axis_map.index, axis=position)
    return jnp.sum(jnp.square(x - factor * theta)), jnp.sum(jnp.square(x))


def _ratio(outside: jax.Array, total: jax.Array) -> float:
    over, under = float(outside), float(total)
    return (over / under) ** 0.5 if under > 0 else 0.0


@partial(jax.jit, static_argnames=("plan", "factor"))
def _tree_squares(tree: chex.ArrayTree, *, plan: WidthPlan, factor: str) -> tuple[jax.Array, jax.Array]:
    def one(spec: ParamSpec, x: jax.Array, law: LeafLaw) -> jax.Array:
        axes = [(i, m) for i, d in enumerate(spec.dims) if d.role != "keeps" and (m := plan.maps[d.axis]).grown]
        return jnp.stack(_residual_squares(x, getattr(law, factor), axes))

    leaves = jax.tree.map(
        one, param_specs(plan.source), tree, law_tree(plan), is_leaf=lambda n: isinstance(n, ParamSpec) or is_law(n)
    )
    return tuple(jnp.sum(jnp.stack(jax.tree.leaves(leaves)), axis=0))


@partial(jax.jit, static_argnames=("config", "plan"))
def _activation_squares(
    params: Params, inputs: jax.Array, *, config: ModelConfig, plan: WidthPlan
) -> tuple[jax.Array, jax.Array]:
    gauge, pairs = gauges(plan), []
    for axis, x in activations(config, params, inputs).items():
        # [L, B, T, axis, ...]: the named axis is the fourth, and a head's own positions follow it
        axes = [(3, plan.maps[axis])]
        if axis == "heads":
            axes.append((4, plan.maps["head_dim"]))
        factor = gauge[axis][plan.maps[axis].index].reshape(-1, *(1,) * (x.ndim - 4))
        pairs.append(jnp.stack(_residual_squares(x, factor, axes)))
    return tuple(jnp.sum(jnp.stack(pairs), axis=0))


def tree_escape(tree: chex.ArrayTree, plan: WidthPlan) -> float:
    """Escape of a tree of the target's parameters: weights, or a difference of weights."""
    return _ratio(*_tree_squares(tree, plan=plan, factor="s"))


def gradient_escape(tree: chex.ArrayTree, plan: WidthPlan) -> float:
    """Escape of a tree of gradients, or of first moments: from {r copy(.)}, where clones' gradients lie."""
    return _ratio(*_tree_squares(tree, plan=plan, factor="r"))


def activation_escape(config: ModelConfig, params: Params, plan: WidthPlan, windows_BT: jax.Array) -> float:
    """Escape of the residual stream, of what attention gives for each head and of the hidden units together, on windows
    [B, T + 1]."""
    return _ratio(*_activation_squares(params, windows_BT[:, :-1].astype(jnp.int32), config=config, plan=plan))


@partial(jax.jit, static_argnames="plan")
def _identical(tree: chex.ArrayTree, *, plan: WidthPlan) -> jax.Array:
    def one(spec: ParamSpec, x: jax.Array) -> jax.Array:
        first = x
        for position, dim in enumerate(spec.dims):
            if dim.role == "keeps":
                continue
            index = plan.maps[dim.axis].index
            places = np.unique(index, return_index=True)[1]
            first = jnp.take(first, places[index], axis=position)
        return jnp.all(first == x)

    leaves = jax.tree.map(one, param_specs(plan.source), tree, is_leaf=lambda n: isinstance(n, ParamSpec))
    return jnp.all(jnp.stack(jax.tree.leaves(leaves)))


def clones_identical(params: Params, plan: WidthPlan) -> bool:
    """Whether all copies among a target's parameters hold the same bits (for plans whose copies are even)."""
    return bool(_identical(params, plan=plan))
