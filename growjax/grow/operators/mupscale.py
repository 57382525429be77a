"""mu-pscaling: Ma et al. 2026, arXiv 2602.10545."""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp

from growjax.config import OptimConfig
from growjax.draws import Sites, normals
from growjax.grow.building import clone, cloned
from growjax.grow.factors import law_factors, times_factors
from growjax.grow.law import leaf_law
from growjax.grow.leafwise import LeafFunction, Leafwise, each_leaf
from growjax.grow.operator import Operator
from growjax.grow.options import Amount
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import check_law, check_whole_multiples, where_clones_are_exact
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import initial_deviation, named_params, param_specs
from growjax.streams import Streams, at_site, normals_from
from growjax.train.state import TrainState


def mupscale(state: TrainState, plan: WidthPlan, *, streams: Streams, sigma: Amount = 0.05) -> TrainState:
    """Tiled, perturbed and divided, with moments, rates, decay and epsilon scaled as muP has them; plain clipping.

    arXiv 2602.10545: m/k, v/k^2 and lr/k in muP's own parametrisation, where a head keeps its weights and is divided in
    the forward pass. Here the head itself is divided (or the final norm, where the table is the head), and the same
    training asks for the law's factors, and for squared gradients of what is divided to count 1/k^2 times in the global
    norm, as muP's own gradients are that much smaller. The noise does not cancel: to every tiled matrix and table comes
    a normal of `sigma` times the deviation that it was first drawn with, before matrices are divided; norms' gains and
    biases have none. The function is kept only without it. Whole multiples only.
    """
    new = clone(state, plan)
    factors = law_factors(plan, state.config.optim)
    law = times_factors(new.law, factors._replace(clip=_plain_clipping(plan)))
    noise = _initial_noise(plan, sigma, key=streams.at("perturb", 0))
    return new.replace(params=each_leaf(noise, new.params, plan) if sigma else new.params, law=law)


def _plain_clipping(plan: WidthPlan) -> chex.ArrayTree:
    """How often each squared gradient counts where muP's own gradients are clipped by their plain global norm."""
    k = plan.maps["embed"].new / plan.maps["embed"].old
    divided = ("scales", "writes") if plan.source.tie_embeddings else ("reads",)

    def one(spec: ParamSpec) -> jax.Array:
        carries = any(d.gauge == "logits" and d.role in divided for d in spec.dims)
        return jnp.full((1,) * len(spec.dims), k**-2 if carries else 1.0, plan.target.param_dtype)

    return map_specs(one, param_specs(plan.source))


def _perturbed(spec: ParamSpec, plan: WidthPlan) -> bool:
    return spec.init == "normal" and any(plan.maps[d.axis].grown for d in spec.dims)


def _initial_noise(plan: WidthPlan, sigma: float, *, key: jax.Array) -> LeafFunction:
    """Normals of `sigma` times the initial deviation, carried like the weights they are added to; every parameter is a
    site of its own."""

    def one(path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        if not _perturbed(spec, plan):
            return leaf
        size = jnp.asarray(sigma * initial_deviation(plan.source, spec) * leaf_law(spec, plan).s, leaf.dtype)
        return leaf + size * normals_from(at_site(key, path), leaf.shape, leaf.dtype, first * math.prod(leaf.shape[1:]))

    return one


def _by_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    clones, sigma = cloned(plan, streams, options), options["sigma"]
    noise = _initial_noise(plan, sigma, key=streams.at("perturb", 0))
    return clones.then(Leafwise((noise,))) if sigma else clones


def _unless_noisy(plan: WidthPlan, options: Options) -> bool:
    return options["sigma"] == 0 and where_clones_are_exact(plan, options)


def _check(plan: WidthPlan, optim: OptimConfig, options: Options) -> None:
    check_whole_multiples(plan, optim, options)
    check_law(plan, optim, options)


def _noise_drawn(plan: WidthPlan, options: Options) -> Sites:
    found = named_params(plan.target) if options["sigma"] else []
    return [([path, 0], normals(x.shape, x.dtype.name)) for path, spec, x in found if _perturbed(spec, plan)]


MUPSCALE = Operator(
    "mupscale", mupscale, "published", "arXiv 2602.10545", _unless_noisy, _check,
    draws={"perturb": _noise_drawn}, leafwise=_by_leaf,
)  # fmt: skip
