"""Parts that change a candidate, for compositions: `exact_copy+noise:snr_db=10+moments:become=zeroed`.

Each is a function `(state, source, plan, *, streams, **options) -> TrainState`, with the source at hand.
"""

from __future__ import annotations

from typing import Literal

import chex
import jax
import jax.numpy as jnp

from growjax.config import OptimConfig
from growjax.errors import require
from growjax.grow.building import restarted
from growjax.grow.copying import clone_counts, new_entries
from growjax.grow.factors import copy_factors, law_factors, no_factors, no_warm, times_factors, warmed_again
from growjax.grow.leafwise import Leafwise, each_leaf
from growjax.grow.moments import copied_moments, fresh_moments, law_moments, refilled_moments, restart_new_entries
from growjax.grow.noise import Cancel, noise_sites, noisy, sigma_of_snr
from growjax.grow.operator import Part
from growjax.grow.options import Amount, Decibels, Horizon, Rate, Steps
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import always, check_law, unless_noise_shows
from growjax.model.axes import map_specs
from growjax.model.decoder import param_specs
from growjax.streams import Streams
from growjax.train.optim import LawFactors
from growjax.train.state import TrainState

Become = Literal["law", "copied", "zeroed", "refilled"]


def noise(
    state: TrainState,
    source: TrainState,
    plan: WidthPlan,
    *,
    streams: Streams,
    sigma: Amount = 0.2,
    snr_db: Decibels | None = None,
    cancel: Cancel = "inputs",
) -> TrainState:
    """Adds normal noise to what reads cloned axes: `sigma` of each matrix's rms, or `snr_db` decibels under it.
    Where noise cancels, that holds of positions that have copies: others have none.
    """
    added = _noise_leaf(plan, streams, {"sigma": sigma, "snr_db": snr_db, "cancel": cancel})
    return state.replace(params=each_leaf(added, state.params, plan))


def _noise_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    size = options["sigma"] if options["snr_db"] is None else sigma_of_snr(options["snr_db"])
    return noisy(plan, size, options["cancel"], key=streams.at("perturb", 0))


def moments(
    state: TrainState, source: TrainState, plan: WidthPlan, *, streams: Streams, become: Become = "law"
) -> TrainState:
    """Makes the moments `law` (scaled like gradients), `copied`, `zeroed` (counts too) or `refilled` (only m = 0).

    Counts come from the source or start anew with the moments, and with counts come the warm-ups that go by them.
    """
    carried = None if source.law is None else copy_factors(source.law, plan)
    opt_state, warms = {
        "law": lambda: (law_moments(source.opt_state, plan), carried),
        "copied": lambda: (copied_moments(source.opt_state, plan), carried),
        "zeroed": lambda: (fresh_moments(state.opt_state), None),
        "refilled": lambda: (refilled_moments(state.opt_state), state.law),
    }[become]()
    warm, ratio = (None, None) if warms is None else (warms.warm, warms.ratio)
    none = state.law is None and warm is None
    law = None if none else (state.law or no_factors(plan))._replace(warm=warm, ratio=ratio)
    return state.replace(opt_state=opt_state, law=law)


def reset(state: TrainState, source: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Starts moments and counts anew in every entry with a new coordinate; each keeps a count of its own.

    A warm-up of an earlier growth ends there, and one that this growth gave (`sparkling`, `rewarm`) goes on.
    """
    law = _without_earlier_warm_ups(state, source, plan)
    return state.replace(opt_state=restart_new_entries(state.opt_state, plan), law=law)


def _without_earlier_warm_ups(state: TrainState, source: TrainState, plan: WidthPlan) -> LawFactors | None:
    """The candidate's factors with warm-ups cleared in entries with a new coordinate, where they are what was carried,
    and counts too: what gives a warm-up starts counts anew."""
    law, carried = state.law, None if source.law is None else copy_factors(source.law, plan)
    if law is None or law.warm is None or carried is None or carried.warm is None:
        return law
    specs, zeros = param_specs(plan.source), no_warm(plan)
    ratio, ratio_carried = (zeros if f.ratio is None else f.ratio for f in (law, carried))

    def earlier(spec, count, count_carried, warm, warm_carried, ratio, ratio_carried):
        new = new_entries(spec, plan)
        anew = jnp.any(new & (count != count_carried))  # over the whole leaf: counts may have more axes than factors
        return new & ~anew & (warm == warm_carried) & (ratio == ratio_carried)

    counts = state.opt_state.count, clone_counts(source.opt_state.count, plan)
    ended = map_specs(earlier, specs, *counts, law.warm, carried.warm, ratio, ratio_carried)

    def ended_in(tree: chex.ArrayTree) -> chex.ArrayTree:
        return jax.tree.map(lambda over, f: jnp.where(over, jnp.zeros((), f.dtype), f), ended, tree)

    return law._replace(warm=ended_in(law.warm), ratio=None if law.ratio is None else ended_in(law.ratio))


def schedule(
    state: TrainState, source: TrainState, plan: WidthPlan, *, streams: Streams, horizon: Horizon = 0
) -> TrainState:
    """Starts the learning-rate schedule anew, warm-up included, to end after `horizon` steps (0: as many as before)."""
    optim = state.config.optim
    if horizon:
        optim = optim.replace(total_steps=horizon)
    opt_state = state.opt_state._replace(schedule_step=0 * state.opt_state.schedule_step)
    return state.replace(opt_state=opt_state, config=state.config.replace(optim=optim))


def rate(state: TrainState, source: TrainState, plan: WidthPlan, *, streams: Streams, times: Rate = 1.0) -> TrainState:
    """Multiplies the learning rate by `times` all along its schedule, and the decay that goes by it."""
    optim = state.config.optim
    optim = optim.replace(learning_rate=optim.learning_rate * times)
    return state.replace(config=state.config.replace(optim=optim))


def law(
    state: TrainState,
    source: TrainState,
    plan: WidthPlan,
    *,
    streams: Streams,
    lr: bool = True,
    decay: bool = True,
    eps: bool = True,
    clip: bool = True,
) -> TrainState:
    """Scales the optimizer's constants by the law, or some of them: rates, decay, epsilon, clipping.

    The source's own constants, that is: what the operator made of those that are chosen is replaced.
    """
    carried = None if source.law is None else copy_factors(source.law, plan)
    whole = times_factors(carried, law_factors(plan, state.config.optim))
    chosen = {name: getattr(whole, name) for name, on in
              {"lr": lr, "decay": decay, "eps": eps, "clip": clip}.items() if on}  # fmt: skip
    both = (state.law or no_factors(plan))._replace(**chosen)
    return state.replace(law=both)


def rewarm(
    state: TrainState, source: TrainState, plan: WidthPlan, *, streams: Streams, steps: Steps = 32
) -> TrainState:
    """Starts moments and counts anew as `reset` does, and lets the rate of these entries rise from 0 over some steps.

    By each entry's own count, up to the schedule's rate; growjax's own, with no peak and no decay of its own as
    `sparkling` has them. Where counts had been carried, a warm-up by them would be over before it began.
    """
    new = restarted(state, plan)
    law = warmed_again(new.law, plan, steps)
    return new.replace(law=law)


def _check_schedule(plan: WidthPlan, optim: OptimConfig, options: Options) -> None:
    horizon, warmup = options["horizon"], optim.warmup_steps
    require(
        horizon == 0 or horizon > warmup,
        f"a horizon of {horizon} does not hold the warm-up of {warmup} steps",
        f"give at least {warmup + 1}, or 0 for the source's own",
    )


PARTS = (
    Part(
        "noise", noise, "arXiv 2409.12903", unless_noise_shows,
        draws={"perturb": noise_sites}, needs_clones=lambda options: options["cancel"] != "none",
        leafwise=_noise_leaf,
    ),
    Part(
        "moments", moments, "growjax", always,
        needs_clones=lambda options: options["become"] in ("law", "copied"),
    ),
    Part("reset", reset, "arXiv 2604.04281", always),
    Part("schedule", schedule, "growjax", always, _check_schedule),
    Part("rate", rate, "growjax", always),
    Part("law", law, "growjax", always, check_law, needs_clones=lambda options: True),
    Part("rewarm", rewarm, "growjax", always),
)  # fmt: skip
