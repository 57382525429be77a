"""Copies along a plan: the one place where arrays grow. Leaf by leaf, each in a compiled program of its own, so that
widening a state needs no more memory than the source, the target and the leaf at hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from growjax.grow.law import LeafLaw, is_law, law_tree, leaf_law
from growjax.grow.leafwise import each_leaf
from growjax.grow.plan import AxisMap, WidthPlan
from growjax.mesh.copying import copy_cut
from growjax.mesh.cutting import mesh_of
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import Params, param_specs

Maps = tuple[AxisMap | None, ...]
"""The map of each axis of a leaf; None where it does not grow."""


def leaf_maps(spec: ParamSpec, plan: WidthPlan) -> Maps:
    """The maps of a parameter's axes."""
    return tuple(m if (m := plan.maps[dim.axis]).grown else None for dim in spec.dims)


def wide_shape(shape: tuple[int, ...], spec: ParamSpec, plan: WidthPlan) -> tuple[int, ...]:
    """The shape that a parameter, or a part of it, comes to."""
    return tuple(n if m is None else m.new for n, m in zip(shape, leaf_maps(spec, plan), strict=True))


def new_shape(spec: ParamSpec, plan: WidthPlan) -> tuple[int, ...]:
    """The target's parameter's shape."""
    return tuple(plan.maps[dim.axis].new for dim in spec.dims)


@partial(jax.jit, static_argnames="maps")
def _copied(leaf: jax.Array, times: jax.Array | None, *, maps: Maps) -> jax.Array:
    # Tiling all axes at once is one pass over memory, and faster than gathering.
    leaf = jnp.tile(leaf, [m.new // m.old if m is not None and m.in_rounds else 1 for m in maps])
    for position, axis_map in enumerate(maps):
        if axis_map is not None and not axis_map.in_rounds:
            leaf = jnp.take(leaf, axis_map.index, axis=position)
    return leaf if times is None else leaf * times


def copy_leaf(leaf: jax.Array, spec: ParamSpec, plan: WidthPlan, times: np.ndarray | None = None) -> jax.Array:
    """Every new entry takes the value of the old entry it copies, times a factor if there is one (1 is left out, so
    that copies stay exact). A scalar stands for all entries and stays."""
    if leaf.ndim == 0:
        return leaf
    factor = None if times is None or np.all(times == 1) else jnp.asarray(times, leaf.dtype)
    if mesh_of(leaf) is not None:
        return copy_cut(leaf, spec, [m and m.index for m in leaf_maps(spec, plan)], new_shape(spec, plan), factor)
    return _copied(leaf, factor, maps=leaf_maps(spec, plan))


def scaled_copy(tree: chex.ArrayTree, plan: WidthPlan, factor: Callable[[LeafLaw], np.ndarray | None]) -> Params:
    """Copies of every leaf, times a factor of the law."""

    def one(spec: ParamSpec, leaf: jax.Array, law: LeafLaw) -> jax.Array:
        return copy_leaf(leaf, spec, plan, factor(law))

    trees = (param_specs(plan.source), tree, law_tree(plan))
    return jax.tree.map(one, *trees, is_leaf=lambda n: isinstance(n, ParamSpec) or is_law(n))


@dataclasses.dataclass(frozen=True)
class Cloned:
    """The leaf function of clones, theta' = s copy(theta): the function is kept."""

    plan: WidthPlan

    def __call__(self, path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        return copy_leaf(leaf, spec, self.plan, leaf_law(spec, self.plan).s)

    def before_copying(self, spec: ParamSpec) -> np.ndarray:
        """float64 that broadcasts to the old parameter: s as a factor of old entries, since copies of one entry have
        one s. Copying what is scaled by it gives the same bits."""
        s = leaf_law(spec, self.plan).s
        for position, dim in enumerate(spec.dims):
            if s.shape[position] > 1:
                s = np.take(s, np.unique(self.plan.maps[dim.axis].index, return_index=True)[1], axis=position)
        return s


def clone_params(params: Params, plan: WidthPlan) -> Params:
    """theta' = s copy(theta): the function is kept."""
    return each_leaf(Cloned(plan), params, plan)


def clone_counts(count: chex.ArrayTree, plan: WidthPlan) -> chex.ArrayTree:
    """Counts carried: a scalar stays one, counts by entry are copied."""
    return map_specs(lambda spec, c: copy_leaf(c, spec, plan), param_specs(plan.source), count)


def along(values: np.ndarray, position: int, ndim: int) -> np.ndarray:
    """A vector laid along one axis of an array of that rank."""
    return values.reshape([-1 if i == position else 1 for i in range(ndim)])


def new_entries(spec: ParamSpec, plan: WidthPlan) -> np.ndarray:
    """bool of the new parameter's rank, broadcasting to it: entries with at least one new coordinate."""
    new = np.zeros((1,) * len(spec.dims), bool)
    for position, dim in enumerate(spec.dims):
        axis_map = plan.maps[dim.axis]
        if axis_map.grown:
            new = new | along(axis_map.is_new, position, len(spec.dims))
    return new


def without(plan: WidthPlan, axes: tuple[str, ...]) -> WidthPlan:
    """The plan with some axes taken as not grown."""
    same = {axis: AxisMap(axis, plan.maps[axis].old, np.arange(plan.maps[axis].old)) for axis in axes}
    return WidthPlan(plan.source, plan.target, {**plan.maps, **same})
