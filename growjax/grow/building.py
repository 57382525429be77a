"""What operators build candidates with: clones, starts of their own, and optimizers that start anew."""

from __future__ import annotations

from collections.abc import Callable

from growjax.draws import Sites
from growjax.grow.blocks import Start, started_params
from growjax.grow.copying import Cloned, clone_params
from growjax.grow.factors import copy_factors, warmed_again
from growjax.grow.leafwise import Leafwise
from growjax.grow.moments import fresh_moments, law_moments, restart_new_entries, started_moments
from growjax.grow.plan import Options, WidthPlan
from growjax.model.decoder import Params, init_sites
from growjax.streams import Streams
from growjax.train.optim import OptState
from growjax.train.state import TrainState


def cloned(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    """What `clone` does to parameters."""
    return Leafwise((Cloned(plan),))


def clone(
    state: TrainState, plan: WidthPlan, moments: Callable[[OptState, WidthPlan], OptState] = law_moments
) -> TrainState:
    """Weights, moments and counters by the law, with whatever factors the source's optimizer had. Other `moments` than
    the law's may be asked for (`growjax.grow.moments`)."""
    return TrainState(
        params=clone_params(state.params, plan),
        opt_state=moments(state.opt_state, plan),
        step=state.step,
        law=None if state.law is None else copy_factors(state.law, plan),
        config=state.config.replace(model=plan.target),
    )


def restarted(new: TrainState, plan: WidthPlan) -> TrainState:
    """With moments and counts anew in every entry that has a new coordinate, and no warm-up of an earlier growth
    there."""
    opt_state = restart_new_entries(new.opt_state, plan)
    law = warmed_again(new.law, plan, 0)
    return new.replace(opt_state=opt_state, law=law)


def started(state: TrainState, plan: WidthPlan, starts: dict[str, Start]) -> TrainState:
    """Weights and moments by starts of their own; counters, schedule and the optimizer's factors as for clones."""
    return TrainState(
        params=started_params(state.params, plan, starts),
        opt_state=started_moments(state.opt_state, plan, starts),
        step=state.step,
        law=None if state.law is None else copy_factors(state.law, plan),
        config=state.config.replace(model=plan.target),
    )


def fresh(new: TrainState, params: Params | None = None) -> TrainState:
    """With an optimizer that has seen nothing, an earlier growth's factors and warm-ups included, and other parameters
    if there are any."""
    opt_state = fresh_moments(new.opt_state)
    return new.replace(opt_state=opt_state, law=None, params=new.params if params is None else params)


def with_norm_eps(plan: WidthPlan, share: float) -> WidthPlan:
    """The plan with a target whose norms over `embed` see that share of the source's mean square."""
    own = plan.source.qk_norm_eps if plan.source.qk_norm_eps is not None else plan.source.norm_eps
    eps = {"norm_eps": plan.source.norm_eps * share, "qk_norm_eps": own if plan.source.qk_norm else None}
    return WidthPlan(plan.source, plan.target.replace(**eps), plan.maps)


def target_sites(plan: WidthPlan, options: Options) -> Sites:
    """What a first draw of the target takes, of the stream `init`."""
    return init_sites(plan.target)
