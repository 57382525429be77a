"""The structured non-clone start: new units that are no copies, inside the subspace that the source's weights span.

Along `embed`, `heads`, `kv_heads` and `mlp`, what writes new positions is an orthogonal mixture of what writes the old
ones, and what reads new positions starts at zero, so the old positions carry the whole function. A mixture of
the residual stream keeps its mean square, so every norm stays as it was. The form is our own: the paper's is not
public.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from growjax.grow.law import gauges, leaf_law
from growjax.grow.parts import clone_counts, copy_leaf, new_entries
from growjax.grow.plan import AxisMap, WidthPlan
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import Params, param_specs
from growjax.streams import at_site
from growjax.train.optim import OptState

MIXED = ("embed", "heads", "kv_heads", "mlp")
"""Axes whose new positions are mixtures; along the others (head_dim) positions are cloned by the law."""


class Mixing(NamedTuple):
    """How the positions of one grown axis are written: new values = matrix [new, old] times old values."""

    matrix: np.ndarray
    kept: np.ndarray
    """float64 [new]: what a reader multiplies its copied weights by (0 at new positions)."""


def orthogonal(n: int, *, key: jax.Array, keep_mean: bool) -> np.ndarray:
    """float64 [n, n]: an orthogonal matrix, uniform (Mezzadri 2007, arXiv math-ph/0609050, section 5); with
    `keep_mean` uniform among those that leave the vector of ones in place."""
    if keep_mean and n > 1:
        ones = np.ones(n) / np.sqrt(n)
        basis, _ = np.linalg.qr(np.concatenate([ones[:, None], np.eye(n)[:, 1:]], axis=1))
        inner = orthogonal(n - 1, key=key, keep_mean=False)
        rest = basis[:, 1:]
        return np.outer(ones, ones) + rest @ inner @ rest.T
    q, r = np.linalg.qr(np.asarray(jax.random.normal(key, (n, n), jnp.float64)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def mixing(axis_map: AxisMap, gauge: np.ndarray, *, key: jax.Array, keep_mean: bool) -> Mixing:
    """Old positions in place, then one orthogonal mixture for each round of copies the plan deals.

    The gauge is the law's: a round mixes values already carried by it, which keeps the mean square at any width.
    """
    matrix = np.zeros((axis_map.new, axis_map.old))
    old_places = np.flatnonzero(~axis_map.is_new)
    matrix[old_places, axis_map.index[old_places]] = gauge[axis_map.index[old_places]]
    new_places = np.flatnonzero(axis_map.is_new)
    rounds = _rounds(axis_map.index[new_places])
    for number in range(rounds.max() + 1 if len(rounds) else 0):
        rows = new_places[rounds == number]
        columns = axis_map.index[rows]
        mix = orthogonal(len(rows), key=at_site(key, axis_map.axis, number), keep_mean=keep_mean)
        matrix[np.ix_(rows, columns)] = mix * gauge[columns]
    kept = np.where(axis_map.is_new, 0.0, 1 / gauge[axis_map.index])
    return Mixing(matrix, kept)


def _rounds(sources: np.ndarray) -> np.ndarray:
    """For each copy, how many copies of the same position stand before it."""
    return np.asarray([int(np.sum(sources[:i] == s)) for i, s in enumerate(sources)], np.int64)


def structured_params(params: Params, plan: WidthPlan, *, key: jax.Array) -> Params:
    """Weights of the structured start; `key` is the structure stream's at step 0, every axis a site of its own."""
    gauge = gauges(plan)
    keep_mean = plan.source.dialect == "layer"
    mixings = {
        axis: mixing(plan.maps[axis], gauge[axis], key=key, keep_mean=keep_mean and axis == "embed")
        for axis in MIXED
        if plan.maps[axis].grown
    }

    def one(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        law = leaf_law(spec, _only(plan, without=tuple(mixings)))
        for position, dim in enumerate(spec.dims):
            axis_map = plan.maps[dim.axis]
            mix = mixings.get(dim.axis)
            # A tied table is read as it was written: behind the last norm only the old positions may go on.
            tied = dim.gauge == "logits" and plan.source.tie_embeddings
            if mix is not None and dim.role == "writes" and not tied:
                mixed = jnp.tensordot(jnp.asarray(mix.matrix), leaf.astype(jnp.float64), axes=(1, position))
                leaf = jnp.moveaxis(mixed, 0, position).astype(leaf.dtype)
            elif axis_map.grown:
                leaf = jnp.take(leaf, axis_map.index, axis=position)
                if mix is not None and dim.role == "reads":
                    leaf = leaf * _along(mix.kept, position, leaf)
                elif mix is not None and tied:
                    power = 2 if dim.role == "scales" else 1  # a gain undoes the gauge of what it scales as well
                    leaf = leaf * _along(mix.kept**power, position, leaf)
        return leaf if np.all(law.s == 1) else leaf * jnp.asarray(law.s, leaf.dtype)

    return map_specs(one, param_specs(plan.source), params)


def _along(values: np.ndarray, position: int, leaf: jax.Array) -> jax.Array:
    return jnp.asarray(values.reshape([-1 if i == position else 1 for i in range(leaf.ndim)]), leaf.dtype)


def _only(plan: WidthPlan, without: tuple[str, ...]) -> WidthPlan:
    """The plan with some axes taken as not grown: what the law alone must still account for."""
    same = {axis: AxisMap(axis, m.old, np.arange(m.old)) for axis, m in plan.maps.items() if axis in without}
    return WidthPlan(plan.source, plan.target, {**plan.maps, **same})


def _old_gradients(spec: ParamSpec, plan: WidthPlan) -> np.ndarray:
    """What gradients of old entries are multiplied by: one over the scale at which those entries are carried.

    Exact but for what writes the residual stream: there the norms' radial part of the gradient is shared with the new
    positions, which the law's clones share evenly and mixtures do not.
    """
    gauge, ndim = gauges(plan), len(spec.dims)
    mixed = tuple(axis for axis in MIXED if plan.maps[axis].grown)
    times = leaf_law(spec, _only(plan, without=mixed)).r
    for position, dim in enumerate(spec.dims):
        if dim.axis not in mixed:
            continue
        tied = dim.gauge == "logits" and plan.source.tie_embeddings
        power = {"writes": 1 if tied else -1, "reads": 1, "scales": 2 if tied else 0, "keeps": 0}[dim.role]
        along = gauge[dim.axis][plan.maps[dim.axis].index] ** power
        times = times * along.reshape([-1 if i == position else 1 for i in range(ndim)])
    return times


def structured_moments(opt_state: OptState, plan: WidthPlan) -> OptState:
    """Old entries carry their moments, at the scale of their gradients; new ones start with no direction (m = 0) but at
    the size of the entry they stand beside (v copied), so that their first steps are neither frozen nor huge. Counters
    are carried."""
    specs = param_specs(plan.source)

    def mu(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        scaled = copy_leaf(leaf, spec, plan) * jnp.asarray(_old_gradients(spec, plan), leaf.dtype)
        return jnp.where(new_entries(spec, plan), jnp.zeros((), leaf.dtype), scaled)

    def nu(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        return copy_leaf(leaf, spec, plan) * jnp.asarray(_old_gradients(spec, plan) ** 2, leaf.dtype)

    return OptState(
        mu=map_specs(mu, specs, opt_state.mu),
        nu=map_specs(nu, specs, opt_state.nu),
        count=clone_counts(opt_state.count, plan),
        schedule_step=opt_state.schedule_step,
    )
