"""The exact-trajectory law: what cloning does to weights and gradients.

Give every axis its index map g, multiplicity c and a gauge a, the scale by which its values are carried in the wide
model. A parameter that writes an axis is multiplied by a, one that reads it by 1/(c a), one that scales it by
a_out/a_in. With s the product of these and `copies` the number of new entries for an old one,

    theta' = s copy(theta)     grad' = r copy(grad)     r = 1 / (s copies)     w = s / r

and AdamW follows the narrow run with lr' = s lr, wd' = wd / s, eps' = r eps, and each squared gradient counted w times
in the global norm. All factors follow from axis names and roles; no parameter is known by its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from growjax.grow.plan import AxisMap, WidthPlan
from growjax.model.axes import Dim, ParamSpec, map_specs
from growjax.model.components import components
from growjax.model.decoder import param_specs


class LeafLaw(NamedTuple):
    """Factors of one parameter: float64 arrays that broadcast to it (size 1 along axes where they are uniform)."""

    s: np.ndarray
    r: np.ndarray
    w: np.ndarray


RAW = ("raw_heads", "raw_kv_heads")
"""Gauges of heads up to a norm over all of them."""


def gauges(plan: WidthPlan) -> dict[str, np.ndarray]:
    """float64 [old] for every gauge a parameter may name.

    A normed axis is carried by sqrt(new / (old c)), which keeps its mean square; queries and keys by
    (new/old)^(1/4) / sqrt(c), which keeps their scores under the longer head's 1/sqrt(K), or by 1 / sqrt(c) where
    scores are divided by a number of its own. Heads are normed axes where
    one norm goes over all queries or keys, up to that norm. The stream that a tied
    head reads is carried by 1/(c a), since the table it is read with is fixed by what the embedding writes.
    """
    counts = {name: m.counts.astype(np.float64) for name, m in plan.maps.items()}
    ratio = {name: m.new / m.old for name, m in plan.maps.items()}
    normed = {name: np.sqrt(ratio[name] / counts[name]) for name in ("embed", "head_dim", "heads", "kv_heads")}
    # A norm that subtracts a mean takes even copies alone, which need no gauge.
    embed = np.ones(plan.source.d_model) if components(plan.source).norm.subtracts_mean else normed["embed"]
    return {
        "embed": embed,
        "logits": 1 / (counts["embed"] * embed) if plan.source.tie_embeddings else embed,
        "raw": normed["head_dim"],
        "raw_heads": normed["heads"],
        "raw_kv_heads": normed["kv_heads"],
        "score": (1 if plan.source.query_pre_attn_scalar else ratio["head_dim"] ** 0.25) / np.sqrt(counts["head_dim"]),
        "value": np.ones(plan.source.head_dim),
        "heads": np.ones(plan.source.n_heads),
        "kv_heads": np.ones(plan.source.n_kv_heads),
        "mlp": np.ones(plan.source.d_ff),
    }


def _along(values: np.ndarray, axis_map: AxisMap, position: int, ndim: int) -> np.ndarray:
    """Old-position values as an array of the new parameter's rank, of size 1 where they are all the same."""
    new = values[axis_map.index]
    if np.all(new == new[0]):
        new = new[:1]
    return new.reshape([-1 if i == position else 1 for i in range(ndim)])


def _dim_factor(dim: Dim, axis_map: AxisMap, gauge: dict[str, np.ndarray]) -> np.ndarray:
    if dim.role == "reads":
        return 1 / (axis_map.counts * gauge[dim.gauge])
    if dim.role == "writes":
        return gauge[dim.gauge]
    if dim.role == "scales":
        return gauge[dim.gauge] / gauge[dim.gauge_in]
    return np.ones(axis_map.old)


def leaf_law(spec: ParamSpec, plan: WidthPlan) -> LeafLaw:
    """s, r and the clip weight of one parameter."""
    gauge, ndim = gauges(plan), len(spec.dims)
    s = copies = np.ones((1,) * ndim)
    for position, dim in enumerate(spec.dims):
        axis_map = plan.maps[dim.axis]
        s = s * _along(_dim_factor(dim, axis_map, gauge), axis_map, position, ndim)
        if dim.role != "keeps":  # a row of its own has gradients of its own
            copies = copies * _along(axis_map.counts.astype(np.float64), axis_map, position, ndim)
    r = 1 / (s * copies)
    return LeafLaw(s, r, s / r)


def stretch(spec: ParamSpec, plan: WidthPlan) -> tuple[float, list[str]]:
    """(n, axes): by how much r copy(M) is longer than M, singular value by singular value, and the axes along which
    that is no one number.

    r copy(M) = A M B with A and B copies times factors. Where the columns of A, and the rows of B, are of one length,
    A and B are isometries times n, and whatever maps singular values alone commutes with the widening. A column's
    squared length is c rho^2, with rho that axis's own factor of r.
    """
    gauge, n, uneven = gauges(plan), 1.0, []
    for dim in spec.dims:
        if dim.role in ("reads", "writes"):
            axis_map = plan.maps[dim.axis]
            rho = 1 / (_dim_factor(dim, axis_map, gauge) * axis_map.counts)
            lengths = np.sqrt(axis_map.counts) * rho
            n *= float(lengths[0])
            if not np.allclose(lengths, lengths[0], rtol=1e-12):  # float64 rounding of a handful of factors
                uneven.append(dim.axis)
    return n, uneven


LawTree: TypeAlias = "LeafLaw | Mapping[str, LawTree]"
"""A tree of `LeafLaw`, of the parameters' own structure."""


def law_tree(plan: WidthPlan) -> LawTree:
    """The tree of `LeafLaw`, of the parameters' structure."""
    return map_specs(lambda spec: leaf_law(spec, plan), param_specs(plan.source))


def is_law(node: object) -> bool:
    """Whether a node is a `LeafLaw`."""
    return isinstance(node, LeafLaw)
