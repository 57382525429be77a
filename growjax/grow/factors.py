"""The law of the optimizers: the factors of their constants under which the wide run is the narrow run.

With gradients r copy(g) and moments r copy(m), an update must come out as s copy(update). Decay is decoupled, so
lr' wd' = lr wd for every optimizer. The rest, by optimizer:

    AdamW   the direction is m/(sqrt(v) + eps), free of r if eps' = r eps:         lr' = s lr
    Lion    the direction is a sign, free of r:                                     lr' = s lr
    SGD     the direction is the momentum itself, r times the narrow one:           lr' = (s/r) lr
    Muon    the direction is M with its singular values evened out. Where r copy(M) stretches all of them by one n
            (`growjax.grow.law.stretch`), it is (r/n) times the narrow one:         lr' = (s n / r) (f/f') lr
            with eps' = n eps and f, f' Muon's own factors for the two shapes. Where copies of unequal length would mix
            singular values there is no law, and `lockstep` is refused.

A bias of keys that are neither normed nor rotated shifts all scores of a query alike: no loss depends on it, and its
gradient is rounding. Lion follows the sign of that, so that such a bias, and nothing else, ends elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from growjax.config import OptimConfig
from growjax.errors import UserError
from growjax.grow.copying import leaf_maps, new_entries, new_shape
from growjax.grow.law import leaf_law, stretch
from growjax.grow.plan import WidthPlan
from growjax.mesh.copying import copy_cut
from growjax.mesh.cutting import mesh_of
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import param_shapes, param_specs
from growjax.train.directions import muon_shape_factor
from growjax.train.optim import LawFactors


class _Factors(NamedTuple):
    lr: np.ndarray
    decay: np.ndarray
    eps: np.ndarray
    clip: np.ndarray


def _leaf_factors(spec: ParamSpec, old: jax.Array, new: jax.Array, plan: WidthPlan, optim: OptimConfig) -> _Factors:
    law, one = leaf_law(spec, plan), np.ones((1,) * len(spec.dims))
    if optim.name == "adamw" or (optim.name == "muon" and not spec.is_matrix):
        return _Factors(law.s, 1 / law.s, law.r, law.w)
    if optim.name == "lion":
        return _Factors(law.s, 1 / law.s, one, law.w)
    if optim.name == "sgd":
        return _Factors(law.w, 1 / law.w, one, law.w)
    n, uneven = stretch(spec, plan)
    if uneven:
        raise UserError(
            f"Muon has no law along {uneven[0]}: it evens out singular values, and copies of unequal number "
            "give them unequal lengths",
            f"grow {uneven[0]} by a whole multiple, or train with adamw, lion or sgd",
        )
    lr = law.w * n * (muon_shape_factor(spec, old.shape) / muon_shape_factor(spec, new.shape))
    return _Factors(lr, 1 / lr, one * n, law.w)


def law_factors(plan: WidthPlan, optim: OptimConfig) -> LawFactors:
    """The optimizer's factors under which the wide run is the narrow run; raises `UserError` where there are none."""
    specs, dtype = param_specs(plan.source), plan.target.param_dtype
    shapes = (param_shapes(plan.source), param_shapes(plan.target))
    leaves = map_specs(lambda spec, old, new: _leaf_factors(spec, old, new, plan, optim), specs, *shapes)
    trees = (map_specs(lambda _, f, i=i: jnp.asarray(f[i], dtype), specs, leaves) for i in range(4))
    return LawFactors(*trees)


def no_factors(plan: WidthPlan) -> LawFactors:
    """Factors that change nothing: the start of a law that holds in part."""
    specs, dtype = param_specs(plan.source), plan.target.param_dtype
    return LawFactors(*(map_specs(lambda s: jnp.ones((1,) * len(s.dims), dtype), specs) for _ in range(4)))


def copy_factors(factors: LawFactors, plan: WidthPlan) -> LawFactors:
    """The factors a state has already, copied along the plan like the parameters they belong to."""

    def one(spec: ParamSpec, factor: jax.Array) -> jax.Array:
        if mesh_of(factor) is not None:
            maps = zip(leaf_maps(spec, plan), factor.shape, strict=True)
            index = [m.index if m is not None and size > 1 else None for m, size in maps]
            return copy_cut(factor, spec, index, new_shape(spec, plan), None)
        for position, dim in enumerate(spec.dims):
            if factor.shape[position] > 1:
                factor = jnp.take(factor, plan.maps[dim.axis].index, axis=position)
        return factor

    specs = param_specs(plan.source)
    trees = factors._asdict().items()
    return LawFactors(**{name: map_specs(one, specs, tree) for name, tree in trees if tree is not None})


def times_factors(first: LawFactors | None, second: LawFactors) -> LawFactors:
    """Both sets of factors at once: a state that was grown before is grown again."""
    if first is None:
        return second
    products = [jax.tree.map(jnp.multiply, a, b) for a, b in zip(first[:4], second[:4], strict=True)]
    later = first if second.warm is None else second
    return LawFactors(*products, warm=later.warm, ratio=later.ratio)


def warmed_again(
    factors: LawFactors | None, plan: WidthPlan, steps: int, ratio: float | None = None
) -> LawFactors | None:
    """With a warm-up of that many steps (0: none) in every entry with a new coordinate, by the entry's own count; what
    old entries were warming up stays. With a `ratio` the rate rises from where it is, by that much, and decays by
    itself; without, from 0 (`growjax.train.optim.LawFactors`)."""
    factors = factors or (no_factors(plan) if steps else None)
    if factors is None or (steps == 0 and factors.warm is None):
        return factors
    specs = param_specs(plan.source)

    def put(value: int | float, old: chex.ArrayTree) -> chex.ArrayTree:
        return map_specs(lambda s, w: jnp.where(new_entries(s, plan), jnp.asarray(value, w.dtype), w), specs, old)

    made = factors._replace(warm=put(steps, no_warm(plan) if factors.warm is None else factors.warm))
    if ratio is None and factors.ratio is None:
        return made
    ratios = no_warm(plan, plan.target.param_dtype) if factors.ratio is None else factors.ratio
    return made._replace(ratio=put(ratio or 0, ratios))


def no_warm(plan: WidthPlan, dtype: str = "int32") -> chex.ArrayTree:
    """Trees that broadcast to the target's parameters: no entry warms up."""
    return map_specs(lambda spec: jnp.zeros((1,) * len(spec.dims), dtype), param_specs(plan.source))


def anew(factors: LawFactors | None, plan: WidthPlan) -> LawFactors | None:
    """The optimizer's own constants (factors of 1) in every entry with a new coordinate, where units are no copies of
    what an earlier growth gave factors to."""
    if factors is None:
        return None
    specs = param_specs(plan.source)

    def one(spec: ParamSpec, factor: jax.Array) -> jax.Array:
        return jnp.where(new_entries(spec, plan), jnp.ones((), factor.dtype), factor)

    return LawFactors(*(map_specs(one, specs, tree) for tree in factors[:4]), warm=factors.warm, ratio=factors.ratio)
