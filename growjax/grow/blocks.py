"""Weights whose new positions are no clones: what writes an axis is mixed, what reads it is dealt out.

For each such axis a `Start` says how new positions are written (a matrix on what writes the old ones), what a reader
multiplies its copied weights by, and by how much a norm's gain makes up for a changed mean square. Axes without one are
cloned by the law. The function is kept where every old value is read once in all: sum_j kept_j matrix_ji = 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from growjax.draws import Sites, normals, uniforms
from growjax.grow.copying import along, copy_leaf, without
from growjax.grow.law import RAW, gauges, leaf_law
from growjax.grow.leafwise import Leafwise, each_leaf
from growjax.grow.plan import AxisMap, Options, WidthPlan
from growjax.model.axes import Dim, ParamSpec
from growjax.model.components import components
from growjax.model.decoder import Params
from growjax.streams import at_site

AXES = ("embed", "heads", "kv_heads", "mlp")
"""Axes that may have a start of their own; along the others (head_dim) positions are cloned by the law."""


class Start(NamedTuple):
    """How the positions of one grown axis start."""

    matrix: np.ndarray
    """float64 [new, old]: what writes new positions is this times what writes the old ones."""
    kept: np.ndarray
    """float64 [new]: what a reader multiplies its copied weights by."""
    gain: float = 1.0
    """What gains over this axis are multiplied by: the square root of the new mean square over the old."""

    @property
    def table(self) -> np.ndarray:
        """float64 [new]: what makes up for a table that is read as it was written."""
        own = self.matrix.max(axis=1)
        return np.divide(self.kept, own, out=np.zeros_like(self.kept), where=(self.kept != 0) & (own != 0))

    @property
    def even(self) -> np.ndarray:
        """float64 [old]: what old values are multiplied by, up to a norm over this axis, to keep their mean square."""
        new, old = self.matrix.shape
        return np.sqrt(new / (old * np.square(self.matrix).sum(axis=0)))


def grown(plan: WidthPlan) -> list[str]:
    """The axes of `AXES` that grow under a plan."""
    return [axis for axis in AXES if plan.maps[axis].grown]


def mixed_axes(plan: WidthPlan) -> list[str]:
    """Those that mixtures may start. What a norm gives to the residual stream is scaled unit by unit, which mixtures
    do not commute with: there the stream is cloned."""
    return [axis for axis in grown(plan) if not (axis == "embed" and components(plan.source).norms_after)]


def _matrix(dim: Dim, start: Start) -> np.ndarray:
    """float64 [new, old]: how new positions are written along one axis of a parameter."""
    return start.matrix * start.even if dim.gauge in RAW else start.matrix


def _of_dim(dim: Dim, start: Start, axis_map: AxisMap, tied: bool) -> np.ndarray:
    """float64 [new]: what a parameter's old entries are multiplied by along one axis."""
    # A tied table is read as it was written: what stands before it, the last norm, must make up for that.
    before_table = dim.gauge == "logits" and tied
    if dim.role == "reads" or (before_table and dim.role == "writes"):
        return start.kept
    if dim.role == "scales" and dim.gauge_in in RAW:
        return 1 / start.even[axis_map.index]
    if dim.role == "scales":
        # The values scaled were written by the matrix, and so is the table.
        return start.gain * (start.table if before_table else np.ones_like(start.kept))
    return _matrix(dim, start).max(axis=1)


def _mixed(spec: ParamSpec, plan: WidthPlan, starts: dict[str, Start]) -> list[tuple[int, np.ndarray]]:
    """Positions of a parameter's axes that a matrix writes, each with it."""
    tied = plan.source.tie_embeddings
    return [
        (position, _matrix(dim, starts[dim.axis]))
        for position, dim in enumerate(spec.dims)
        if dim.axis in starts and dim.role == "writes" and not (dim.gauge == "logits" and tied)
    ]


def from_starts(plan: WidthPlan, starts: dict[str, Start]) -> Leafwise:
    """Every parameter, by the starts of its axes; the law where an axis has none."""
    rest, tied = without(plan, tuple(starts)), plan.source.tie_embeddings

    def one(path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        times, copied, mixed = leaf_law(spec, rest).s, plan, _mixed(spec, plan, starts)
        for position, dim in enumerate(spec.dims):
            if dim.axis not in starts:
                continue
            if position in dict(mixed):
                copied = without(copied, (dim.axis,))
            else:
                own = _of_dim(dim, starts[dim.axis], plan.maps[dim.axis], tied)
                times = times * along(own, position, leaf.ndim)
        for position, matrix in mixed:
            wide = jnp.tensordot(jnp.asarray(matrix), leaf.astype(jnp.float64), axes=(1, position))
            leaf = jnp.moveaxis(wide, 0, position).astype(leaf.dtype)
        return copy_leaf(leaf, spec, copied, times)

    def sums(spec: ParamSpec) -> bool:
        # in what order a product adds may follow from its size
        return any((np.count_nonzero(matrix, axis=1) > 1).any() for _, matrix in _mixed(spec, plan, starts))

    return Leafwise((one,), sums)


def started_params(params: Params, plan: WidthPlan, starts: dict[str, Start]) -> Params:
    """Every parameter, by the starts of its axes; the law where an axis has none."""
    return each_leaf(from_starts(plan, starts), params, plan)


def old_scale(spec: ParamSpec, plan: WidthPlan, starts: dict[str, Start]) -> np.ndarray:
    """float64, broadcasting to the new parameter: what its old entries are multiplied by, laid out over their copies.

    Gradients of old entries are multiplied by one over that. Exact but for what writes the residual stream under
    mixtures: there the norms' radial part of the gradient is shared with the new positions.
    """
    times = np.ones((1,) * len(spec.dims))
    for position, dim in enumerate(spec.dims):
        if dim.axis in starts:
            axis_map = plan.maps[dim.axis]
            values = _of_dim(dim, starts[dim.axis], axis_map, plan.source.tie_embeddings)
            first = np.unique(axis_map.index, return_index=True)[1]
            times = times * along(values[first][axis_map.index], position, len(spec.dims))
    return times


def orthogonal(n: int, *, key: jax.Array, keep_mean: bool) -> np.ndarray:
    """float64 [n, n]: an orthogonal matrix, uniform (Mezzadri 2007, arXiv math-ph/0609050, section 5); with
    `keep_mean` uniform among those that leave the vector of ones in place. NumPy's products sum in another order on
    another number of threads, so they have one."""
    with threadpool_limits(1, "blas"):
        return _orthogonal(n, key=key, keep_mean=keep_mean)


def _orthogonal(n: int, *, key: jax.Array, keep_mean: bool) -> np.ndarray:
    if keep_mean and n > 1:
        ones = np.ones(n) / np.sqrt(n)
        basis, _ = np.linalg.qr(np.concatenate([ones[:, None], np.eye(n)[:, 1:]], axis=1))
        inner = _orthogonal(n - 1, key=key, keep_mean=False)
        rest = basis[:, 1:]
        return np.outer(ones, ones) + rest @ inner @ rest.T
    q, r = np.linalg.qr(np.asarray(jax.random.normal(key, (n, n), jnp.float64)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def _place(axis_map: AxisMap, values: np.ndarray) -> np.ndarray:
    """float64 [new, old]: old positions in place, times their values [old]; nothing in new ones."""
    matrix = np.zeros((axis_map.new, axis_map.old))
    old = np.flatnonzero(~axis_map.is_new)
    matrix[old, axis_map.index[old]] = values[axis_map.index[old]]
    return matrix


def mixtures(plan: WidthPlan, *, key: jax.Array) -> dict[str, Start]:
    """Old positions in place and new ones as orthogonal mixtures of what the plan would have them copy, read by
    nothing at first.

    One mixture for each round of copies. Values are carried by the law's gauge, which keeps the mean square at any
    width; under LayerNorm mixtures keep the mean as well. `key` is the structure stream's at step 0; every round of an
    axis is a site of its own.
    """
    gauge, starts = gauges(plan), {}
    for axis in mixed_axes(plan):
        axis_map, carried = plan.maps[axis], gauge[axis]
        keep_mean = components(plan.source).norm.subtracts_mean and axis == "embed"
        matrix = _place(axis_map, carried)
        new = np.flatnonzero(axis_map.is_new)
        rounds = without_gaps(axis_map.copy_number[new])
        for number in range(rounds.max() + 1):
            rows = new[rounds == number]
            columns = axis_map.index[rows]
            mix = orthogonal(len(rows), key=at_site(key, axis, number), keep_mean=keep_mean)
            matrix[np.ix_(rows, columns)] = mix * carried[columns]
        starts[axis] = Start(matrix, np.where(axis_map.is_new, 0.0, 1 / carried[axis_map.index]))
    return starts


def mixture_sites(plan: WidthPlan, options: Options) -> Sites:
    """What `mixtures` draws."""
    sites: Sites = []
    for axis in mixed_axes(plan):
        axis_map = plan.maps[axis]
        rounds = without_gaps(axis_map.copy_number[np.flatnonzero(axis_map.is_new)])
        for number, size in enumerate(np.bincount(rounds).tolist()):
            # where the mean is kept, the vector of ones is taken out of what is mixed
            size -= components(plan.source).norm.subtracts_mean and axis == "embed" and size > 1
            sites.append(([axis, number], normals((size, size), "float64")))
    return sites


def without_gaps(numbers: np.ndarray) -> np.ndarray:
    """The same numbers, counted from 0 without gaps."""
    return np.unique(numbers, return_inverse=True)[1]


def padding(plan: WidthPlan) -> dict[str, Start]:
    """Old positions in place and zeros in new ones, on both sides; gains make up for the thinner mean square."""
    starts = {}
    for axis in grown(plan):
        axis_map = plan.maps[axis]
        kept = np.where(axis_map.is_new, 0.0, 1.0)
        gain = np.sqrt(axis_map.old / axis_map.new) if axis == "embed" else 1.0
        starts[axis] = Start(_place(axis_map, np.ones(axis_map.old)), kept, float(gain))
    return starts


def uneven_splits(plan: WidthPlan, *, key: jax.Array) -> dict[str, Start]:
    """Clones whose readers split each weight into unequal parts that sum to it, and LEMON's norms.

    Along `embed` whole rounds of copies, then zeros (RMSNorm) or the mean (LayerNorm) in the remainder, which keeps
    every norm exact at any width with gain' = sqrt(t) gain and eps' = t eps, t = rounds old/new. The parts are
    uniform draws from 0.5 to 1.5 over their sum; `key` is the structure stream's at step 0, every axis a site. The
    plan must deal copies in rounds.
    """
    starts, norm = {}, components(plan.source).norm
    for axis in grown(plan):
        axis_map, gain = plan.maps[axis], 1.0
        matrix = np.zeros((axis_map.new, axis_map.old))
        matrix[np.arange(axis_map.new), axis_map.index] = 1.0
        part = np.asarray(jax.random.uniform(at_site(key, axis), (axis_map.new,), jnp.float64, 0.5, 1.5))
        whole = np.arange(axis_map.new)
        if axis == "embed":
            rounds = axis_map.new // axis_map.old
            whole = whole[: rounds * axis_map.old]
            matrix[len(whole) :] = 1 / axis_map.old if norm.subtracts_mean else 0.0
            gain = float(np.sqrt(len(whole) / axis_map.new))
        sums = np.bincount(axis_map.index[whole], weights=part[whole], minlength=axis_map.old)
        kept = part / sums[axis_map.index]
        if norm.shifts:
            kept[len(whole) :] = 0.0  # a norm's bias is not 0 there; zeros under RMSNorm may be read by anything
        starts[axis] = Start(matrix, kept, gain)
    return starts


def split_sites(plan: WidthPlan, options: Options) -> Sites:
    """What `uneven_splits` draws."""
    return [([axis, 0], uniforms(plan.maps[axis].new, 0.5, 1.5)) for axis in grown(plan)]
