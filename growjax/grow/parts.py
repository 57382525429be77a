"""The parts operators are composed of: how weights start, what moments become, what counters become, what noise is
added. Each is a pure function over trees of the parameters' structure, and knows axes by their names alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from growjax.grow.law import LeafLaw, is_law, law_tree
from growjax.grow.plan import AxisMap, WidthPlan
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import param_specs
from growjax.streams import at_site
from growjax.train.optim import OptState


def copy_leaf(leaf: jax.Array, spec: ParamSpec, plan: WidthPlan) -> jax.Array:
    """Every new entry takes the value of the old entry it copies."""
    for position, dim in enumerate(spec.dims):
        if plan.maps[dim.axis].grown:
            leaf = jnp.take(leaf, plan.maps[dim.axis].index, axis=position)
    return leaf


def scaled_copy(tree: Any, plan: WidthPlan, factor: Callable[[LeafLaw], np.ndarray]) -> Any:
    """Copies of every leaf, times a factor of the law (1 is left out, so that copies stay exact)."""

    def one(spec: ParamSpec, leaf: jax.Array, law: LeafLaw) -> jax.Array:
        new, times = copy_leaf(leaf, spec, plan), factor(law)
        return new if np.all(times == 1) else new * jnp.asarray(times, leaf.dtype)

    laws = law_tree(plan)
    specs = param_specs(plan.source)
    return jax.tree.map(one, specs, tree, laws, is_leaf=lambda n: isinstance(n, ParamSpec) or is_law(n))


def clone_params(params: Any, plan: WidthPlan) -> Any:
    """theta' = s copy(theta): the function is kept."""
    return scaled_copy(params, plan, lambda law: law.s)


def clone_counts(count: Any, plan: WidthPlan) -> Any:
    """Counts carried: a scalar stays one, counts by entry are copied."""
    return map_specs(lambda spec, c: copy_leaf(c, spec, plan) if c.ndim else c, param_specs(plan.source), count)


def law_moments(opt_state: OptState, plan: WidthPlan) -> OptState:
    """m' = r copy(m), v' = r^2 copy(v): what the wide model's own gradients would have left; counters carried."""
    return OptState(
        mu=scaled_copy(opt_state.mu, plan, lambda law: law.r),
        nu=scaled_copy(opt_state.nu, plan, lambda law: law.r**2),
        count=clone_counts(opt_state.count, plan),
        schedule_step=opt_state.schedule_step,
    )


def new_entries(spec: ParamSpec, plan: WidthPlan) -> np.ndarray:
    """bool of the new parameter's rank, broadcasting to it: entries with at least one new coordinate."""
    ndim = len(spec.dims)
    new = np.zeros((1,) * ndim, bool)
    for position, dim in enumerate(spec.dims):
        axis_map = plan.maps[dim.axis]
        if axis_map.grown:
            new = new | axis_map.is_new.reshape([-1 if i == position else 1 for i in range(ndim)])
    return new


def restart_new_entries(opt_state: OptState, plan: WidthPlan) -> OptState:
    """Moments and counts of every entry with a new coordinate start anew; each such entry keeps a count of its own,
    so that its first steps are bias-corrected as a first step should be."""
    specs = param_specs(plan.source)

    def moment(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        return jnp.where(new_entries(spec, plan), jnp.zeros((), leaf.dtype), leaf)

    def count(spec: ParamSpec, leaf: jax.Array, like: jax.Array) -> jax.Array:
        new = new_entries(spec, plan)
        return jnp.broadcast_to(jnp.where(new, jnp.int32(0), leaf), like.shape) if new.any() else leaf

    return opt_state._replace(
        mu=map_specs(moment, specs, opt_state.mu),
        nu=map_specs(moment, specs, opt_state.nu),
        count=map_specs(count, specs, opt_state.count, opt_state.mu),
    )


def _group_mean(noise: jax.Array, axis_map: AxisMap, position: int) -> jax.Array:
    """The mean over all copies of an old position, along one axis, laid out like the noise."""
    moved = jnp.moveaxis(noise, position, 0)
    sums = jax.ops.segment_sum(moved, axis_map.index, num_segments=axis_map.old)
    means = sums / axis_map.counts.reshape(-1, *(1,) * (noise.ndim - 1))
    return jnp.moveaxis(means[axis_map.index].astype(noise.dtype), 0, position)


def input_noise(params: Any, plan: WidthPlan, sigma: float, cancelling: bool, *, key: jax.Array) -> Any:
    """Adds normal noise of `sigma` times each leaf's root mean square to every parameter that reads a cloned axis.

    Cancelling noise sums to zero over the copies of each input, so copies that carry equal values add nothing: the
    function is kept while the copies' own weights differ. `key` is the perturb stream's at step 0; every parameter is
    a site of its own.
    """

    def one(path: Any, spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        grown = [i for i, d in enumerate(spec.dims) if d.role == "reads" and plan.maps[d.axis].grown]
        if not grown:
            return leaf
        site = jax.tree_util.keystr(path, simple=True, separator="/")
        scale = sigma * jnp.sqrt(jnp.mean(jnp.square(leaf)))
        noise = scale * jax.random.normal(at_site(key, site), leaf.shape, leaf.dtype)
        if cancelling:
            noise = noise - _group_mean(noise, plan.maps[spec.dims[grown[0]].axis], grown[0])
        return leaf + noise

    specs = param_specs(plan.source)
    return jax.tree_util.tree_map_with_path(one, specs, params, is_leaf=lambda n: isinstance(n, ParamSpec))
