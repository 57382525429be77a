"""mu-pscaling: Ma et al. 2026, arXiv 2602.10545."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from growjax.config import OptimConfig
from growjax.draws import Sites
from growjax.grow.building import clone
from growjax.grow.factors import law_factors, times_factors
from growjax.grow.noise import input_noise, noise_sites
from growjax.grow.operator import Operator
from growjax.grow.plan import WidthPlan
from growjax.grow.promises import check_law, check_noise, check_whole_multiples, where_clones_are_exact
from growjax.streams import Streams
from growjax.train.state import TrainState


def mupscale(state: TrainState, plan: WidthPlan, *, streams: Streams, sigma: float = 0.05) -> TrainState:
    """Tiled, divided and perturbed, with moments, rates, decay and epsilon scaled as muP has them, clipping left alone.

    arXiv 2602.10545 (m/k, v/k^2 and lr/k in muP's own parametrisation, where a head keeps its weights and is divided in
    the forward pass; here the head itself is divided, and the same training asks for the law's factors). The noise does
    not cancel and is small (`sigma` of each parameter's root mean square): the function is kept only without it. Whole
    multiples only.
    """
    new = clone(state, plan)
    factors = law_factors(plan, state.config.optim)
    law: Any = times_factors(new.law, factors._replace(clip=jax.tree.map(jnp.ones_like, factors.clip)))
    noisy = input_noise(new.params, plan, sigma, "none", key=streams.at("perturb", 0)) if sigma else new.params
    return new.replace(params=noisy, law=law)


def _unless_noisy(plan: WidthPlan, options: dict[str, Any]) -> bool:
    return options["sigma"] == 0 and where_clones_are_exact(plan, options)


def _check(plan: WidthPlan, optim: OptimConfig, options: dict[str, Any]) -> None:
    check_whole_multiples(plan, optim, options)
    check_law(plan, optim, options)
    check_noise(plan, optim, options)


def _noise_if_any(plan: WidthPlan, options: dict[str, Any]) -> Sites:
    return noise_sites(plan, {**options, "cancel": "none"}) if options["sigma"] else []


MUPSCALE = Operator(
    "mupscale", mupscale, "published", "arXiv 2602.10545", _unless_noisy, _check, draws={"perturb": _noise_if_any}
)
