"""Published ways to widen. Where a paper says nothing of the optimizer its state starts anew (moments and counts 0);
the schedule goes on, so that all candidates of a comparison share it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from growjax.config import OptimConfig
from growjax.grow.blocks import padding, started_params, uneven_splits
from growjax.grow.copying import along, copy_leaf, new_entries
from growjax.grow.factors import law_factors, no_factors, times_factors
from growjax.grow.families import clone, restarted, started
from growjax.grow.ligo import clone_maps, learned_growth, noisy_maps
from growjax.grow.moments import fresh_moments, warm_again
from growjax.grow.noise import input_noise, sigma_of_snr
from growjax.grow.operator import (
    Check,
    GrowthData,
    Operator,
    Promise,
    always,
    check_law,
    check_noise,
    check_nothing,
    check_steps,
    check_whole_multiples,
    need,
    never,
    where_clones_are_exact,
    where_zeros_are_exact,
)
from growjax.grow.plan import WidthPlan, make_plan
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import init_params, param_specs
from growjax.streams import Streams
from growjax.train.state import TrainState


def _fresh(new: TrainState, params: Any = None) -> TrainState:
    """With an optimizer that has seen nothing, and other parameters if there are any."""
    opt_state: Any = fresh_moments(new.opt_state)
    return new.replace(opt_state=opt_state, params=new.params if params is None else params)


def _with_norm_eps(plan: WidthPlan, share: float) -> WidthPlan:
    """The plan with a target whose norms over `embed` see that share of the source's mean square."""
    own = plan.source.qk_norm_eps if plan.source.qk_norm_eps is not None else plan.source.norm_eps
    eps = {"norm_eps": plan.source.norm_eps * share, "qk_norm_eps": own if plan.source.qk_norm else None}
    return WidthPlan(plan.source, plan.target.replace(**eps), plan.maps)


def net2net(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """New units are copies of units drawn at random, and readers divide by the number of copies: the function is kept.

    Chen et al. 2016, eq. 2 and 3. Under LayerNorm the residual stream is copied in rounds, since uneven copies would
    shift its mean.
    """
    return _fresh(clone(state, make_plan(plan.source, plan.target, key=streams.at("structure", 0))))


def aki(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """New output units are taken from the layer above, so that no two are alike; the function is not kept.

    Chen et al. 2022 (bert2BERT, advanced knowledge initialization, section 3.2.2). The last layer, and what belongs to
    no layer, is copied.
    """
    cloned = clone(state, plan)

    def one(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        layers = [i for i, d in enumerate(spec.dims) if d.axis == "layers"]
        if not layers:
            return leaf
        above = jnp.minimum(jnp.arange(leaf.shape[layers[0]]) + 1, leaf.shape[layers[0]] - 1)
        new = np.zeros((1,) * leaf.ndim, bool)
        for i in spec.positions("writes"):
            if plan.maps[spec.dims[i].axis].grown:
                new = new | along(plan.maps[spec.dims[i].axis].is_new, i, leaf.ndim)
        return jnp.where(new, jnp.take(leaf, above, axis=layers[0]), leaf)

    return _fresh(cloned, map_specs(one, param_specs(plan.source), cloned.params))


def hypercloning(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Every matrix tiled and divided by how often its input is tiled: the function is kept.

    Samragh et al. 2024, section 3.2, the symmetric form. Whole multiples only.
    """
    return _fresh(clone(state, plan))


def hypercloning_noisy(state: TrainState, plan: WidthPlan, *, streams: Streams, snr_db: float = 10.0) -> TrainState:
    """HyperCloning with noise added to one copy of an input and taken from its other: the function is kept.

    Samragh et al. 2024, section 3.3; the noise lies `snr_db` decibels under the weights. Whole multiples only.
    """
    new = _fresh(clone(state, plan))
    noisy = input_noise(new.params, plan, sigma_of_snr(snr_db), "inputs", key=streams.at("perturb", 0))
    return new.replace(params=noisy)


def lemon(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Each weight split into unequal parts that sum to it, norms exact at any width: the function is kept.

    Wang et al. 2024, section 4: the remainder of a norm is filled with zeros (RMSNorm) or the mean (LayerNorm), and its
    gain and epsilon make up for that. The parts are drawn (see `growjax.grow.blocks.uneven_splits`).
    """
    old, new = plan.source.d_model, plan.target.d_model
    rounds = _with_norm_eps(make_plan(plan.source, plan.target), new // old * old / new)
    params = started_params(state.params, rounds, uneven_splits(rounds, key=streams.at("structure", 0)))
    return _fresh(clone(state, rounds), params)


def zero_pad(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """New units are drawn afresh and their outgoing weights are zero, moments padded with zeros: the function is kept.

    Gesmundo & Maile 2023, section 2 (all axes but the layers'). Zeros in the residual stream are made up for in the
    norms' gain and epsilon; under LayerNorm they shift the mean, and the function is kept only where d_model stays.
    """
    padded = _with_norm_eps(plan, plan.source.d_model / plan.target.d_model)
    new = restarted(started(state, padded, padding(padded)), padded)
    drawn = init_params(plan.target, key=streams.at("init", 0))

    def fill(spec: ParamSpec, leaf: jax.Array, fresh: jax.Array) -> jax.Array:
        random = dead = np.zeros((1,) * leaf.ndim, bool)
        for i, dim in enumerate(spec.dims):
            axis_map = plan.maps[dim.axis]
            if dim.axis not in ("embed", "heads", "kv_heads", "mlp") or not axis_map.grown:
                continue
            is_new = along(axis_map.is_new, i, leaf.ndim)
            if (dim.role, dim.axis == "embed") in (("writes", False), ("reads", True)):
                random = random | is_new  # a new unit's own weights; and zeros may be read by anything
            elif dim.role != "scales":
                dead = dead | is_new
        return jnp.where(random & ~dead, fresh, leaf)

    return new.replace(params=map_specs(fill, param_specs(plan.source), new.params, drawn))


def shrink_perturb(state: TrainState, plan: WidthPlan, *, streams: Streams, shrink: float = 0.4) -> TrainState:
    """The source's weights shrunk, zero-padded and added to a fresh draw of the target; the function is not kept.

    Mallik et al. 2024 (warmstarting, eq. 1) after Ash & Adams 2020. Gains and biases are kept, new ones fresh.
    """
    drawn = init_params(plan.target, key=streams.at("init", 0))

    def one(spec: ParamSpec, leaf: jax.Array, fresh: jax.Array) -> jax.Array:
        new = new_entries(spec, plan)
        old = copy_leaf(leaf, spec, plan)
        if spec.init == "normal":
            return fresh + jnp.where(new, 0.0, shrink * old).astype(leaf.dtype)
        return jnp.where(new, fresh, old)

    params = map_specs(one, param_specs(plan.source), state.params, drawn)
    return _fresh(clone(state, plan), params)


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


def _check_staged(plan: WidthPlan, optim: OptimConfig, options: dict[str, Any]) -> None:
    multiples = {m.new / m.old for m in plan.maps.values() if m.grown and m.axis != "vocab"}
    told = ", ".join(f"{x:g}" for x in sorted(multiples))
    need(
        len(multiples) <= 1 and not any(m.uneven for m in plan.maps.values() if m.axis != "vocab"),
        f"it puts whole models side by side, and this plan grows its axes {told} times",
        "grow d_model, heads and d_ff by one whole multiple",
    )


def staged(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Copies of the whole model side by side, each matrix block-diagonal, the head their mean: the function is kept.

    Shen et al. 2022, section 3.2. Gradients do not tell the blocks apart, so moments are the law's. Weights leave the
    cloned subspace, but nothing ever comes of it as long as no dropout tells the copies apart. One whole multiple for
    every axis that grows.
    """
    new = clone(state, plan)

    def one(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        sides, times = [], []
        for role in ("reads", "writes"):
            found = [i for i in spec.positions(role) if plan.maps[spec.dims[i].axis].grown]
            if not found:
                return leaf
            axis_map = plan.maps[spec.dims[found[0]].axis]
            sides.append(along(axis_map.copy_number, found[0], leaf.ndim))
            times.append(axis_map.new // axis_map.old)
        return leaf * jnp.asarray(np.where(sides[0] == sides[1], times[0], 0), leaf.dtype)

    return new.replace(params=map_specs(one, param_specs(plan.source), new.params))


def ligo(
    state: TrainState,
    plan: WidthPlan,
    *,
    streams: Streams,
    data: GrowthData,
    steps: int = 100,
    learning_rate: float = 1e-3,
    sigma: float = 0.02,
) -> TrainState:
    """A linear map from narrow to wide weights, learned on the corpus for some steps; the function is not kept.

    Wang et al. 2023, section 3: for each axis a matrix for what writes it and one for what reads it, so for every
    parameter a Kronecker-factored pair, trained by Adam on the wide model's loss (without dropout, in a batch order of
    its own). The maps start as clones plus noise of `sigma` times their root mean square, without which clones would
    stay clones.
    """
    maps = noisy_maps(clone_maps(plan), sigma, key=streams.at("perturb", 0))
    params = learned_growth(state, plan, maps, data, steps=steps, learning_rate=learning_rate)
    return _fresh(clone(state, plan), params)


def sparkling(state: TrainState, plan: WidthPlan, *, streams: Streams, rewarm: int = 32) -> TrainState:
    """The exact copy whose new entries start their moments anew and warm their learning rate up again.

    arXiv 2602.02472. Old entries keep moments, counts and rate; in new ones the rate rises over `rewarm` steps. The
    function is kept.
    """
    new = restarted(clone(state, plan), plan)
    law: Any = (new.law or no_factors(plan))._replace(warm=warm_again(plan, rewarm))
    return new.replace(law=law)


def _unless_noisy(plan: WidthPlan, options: dict[str, Any]) -> bool:
    return options["sigma"] == 0 and where_clones_are_exact(plan, options)


def _check_mupscale(plan: WidthPlan, optim: OptimConfig, options: dict[str, Any]) -> None:
    check_whole_multiples(plan, optim, options)
    check_law(plan, optim, options)
    check_noise(plan, optim, options)


def _check_ligo(plan: WidthPlan, optim: OptimConfig, options: dict[str, Any]) -> None:
    check_steps("steps")(plan, optim, options)
    check_noise(plan, optim, options)
    need(options["learning_rate"] > 0, f"learning_rate is {options['learning_rate']}", "give a positive number")


def _paper(name: str, number: str, fn: Callable[..., TrainState], keeps: Promise, check: Check | None = None):
    return Operator(name, fn, "published", f"arXiv {number}", keeps, check or check_nothing)


PUBLISHED = (
    _paper("net2net", "1511.05641", net2net, where_clones_are_exact),
    _paper("aki", "2110.07143", aki, never),
    _paper("hypercloning", "2409.12903", hypercloning, where_clones_are_exact, check_whole_multiples),
    _paper("hypercloning_noisy", "2409.12903", hypercloning_noisy, where_clones_are_exact, check_whole_multiples),
    _paper("lemon", "2310.07999", lemon, always),
    _paper("zero_pad", "2308.06103", zero_pad, where_zeros_are_exact),
    _paper("shrink_perturb", "2411.07340", shrink_perturb, never),
    _paper("mupscale", "2602.10545", mupscale, _unless_noisy, _check_mupscale),
    _paper("staged", "2203.06211", staged, where_clones_are_exact, _check_staged),
    _paper("ligo", "2303.00980", ligo, never, _check_ligo),
    _paper("sparkling", "2602.02472", sparkling, where_clones_are_exact, check_steps("rewarm")),
)
