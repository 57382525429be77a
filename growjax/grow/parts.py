"""Parts that change a candidate, for compositions: `exact_copy+noise:snr_db=10+moments:become=zeroed`.

Each is a function `(state, source, plan, *, streams, **options) -> TrainState`, with the source at hand.
"""

from __future__ import annotations

from typing import Literal

from growjax.config import OptimConfig
from growjax.errors import require
from growjax.grow.building import restarted
from growjax.grow.factors import copy_factors, law_factors, no_factors, times_factors, warmed_again
from growjax.grow.leafwise import Leafwise, each_leaf
from growjax.grow.moments import copied_moments, fresh_moments, law_moments, refilled_moments
from growjax.grow.noise import Cancel, noise_sites, noisy, sigma_of_snr
from growjax.grow.operator import Part
from growjax.grow.options import Amount, Decibels, Horizon, Rate, Steps
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import always, check_law, unless_noise_shows
from growjax.streams import Streams
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
    carried = None if source.law is None else copy_factors(source.law, plan).warm
    opt_state, warm = {
        "law": lambda: (law_moments(source.opt_state, plan), carried),
        "copied": lambda: (copied_moments(source.opt_state, plan), carried),
        "zeroed": lambda: (fresh_moments(state.opt_state), None),
        "refilled": lambda: (refilled_moments(state.opt_state), None if state.law is None else state.law.warm),
    }[become]()
    law = None if state.law is None and warm is None else (state.law or no_factors(plan))._replace(warm=warm)
    return state.replace(opt_state=opt_state, law=law)


def reset(state: TrainState, source: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Starts moments and counts anew in every entry with a new coordinate; each keeps a count of its own."""
    return restarted(state, plan)


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
    """Lets the rate of new entries rise from 0 again over some steps, by each entry's own count (see `reset`)."""
    law = warmed_again(state.law, plan, steps)
    return state.replace(law=law)


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
    Part("rewarm", rewarm, "arXiv 2602.02472", always),
)  # fmt: skip
