"""The paper's four families of candidates (arXiv 2604.04281), the reference and the control."""

from __future__ import annotations

import jax

from growjax.grow.blocks import from_starts, mixture_sites, mixtures
from growjax.grow.building import clone, cloned, restarted, started, target_sites
from growjax.grow.copying import wide_shape
from growjax.grow.factors import law_factors, times_factors
from growjax.grow.leafwise import Leafwise
from growjax.grow.noise import Cancel, input_noise, noise_sites, noisy, sigma_of_snr
from growjax.grow.operator import Operator
from growjax.grow.options import Amount, Decibels
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import check_law, never, unless_noise_shows, where_clones_are_exact
from growjax.model.axes import ParamSpec
from growjax.model.decoder import init_leaf, init_params
from growjax.streams import Streams
from growjax.train.state import TrainState, fresh_state


def exact_copy(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Every unit cloned, moments by the law, counters and schedule carried: the function is kept.

    The optimizer's constants stay the target's own, so training leaves the narrow run from the first step on.
    """
    return clone(state, plan)


def lockstep(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """The exact copy under the whole law: learning rates, decay, epsilon and clipping too.

    The wide run is then the narrow run, step after step (see `growjax.grow.factors`).
    """
    new, law = clone(state, plan), law_factors(plan, state.config.optim)
    both = times_factors(new.law, law)
    return new.replace(law=both)


def perturbed(
    state: TrainState,
    plan: WidthPlan,
    *,
    streams: Streams,
    sigma: Amount = 0.2,
    snr_db: Decibels | None = None,
    cancel: Cancel = "inputs",
) -> TrainState:
    """The exact copy plus normal noise on what reads cloned axes, by default cancelling over the copies.

    The noise's root mean square is `sigma` times each parameter's, all layers taken together (the paper names no size),
    or `snr_db` decibels under each matrix's, each layer's by itself, as in HyperCloning. Where noise cancels,
    that holds of positions that have copies: the others, under an uneven plan, have no noise (d_ff 24 to 25: 23 of 25).
    Noise that cancels over `inputs` keeps the function and breaks the clones' symmetry; over `both` sides it is dead;
    `none` does not keep the function.
    """
    new = clone(state, plan)
    size, stacked = _size(sigma, snr_db)
    params = input_noise(new.params, plan, size, cancel, key=streams.at("perturb", 0), stacked=stacked)
    return new.replace(params=params)


def _size(sigma: float, snr_db: float | None) -> tuple[float, bool]:
    """The noise's size, and whether it is that of all layers together."""
    return (sigma, True) if snr_db is None else (sigma_of_snr(snr_db), False)


def _perturbed_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    size, stacked = _size(options["sigma"], options["snr_db"])
    noise = noisy(plan, size, options["cancel"], key=streams.at("perturb", 0), stacked=stacked)
    return cloned(plan, streams, options).then(noise)


def asymmetric_reset(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """The exact copy whose moments and counts start anew in every entry with a new coordinate; the rest are carried.

    Three quarters of a matrix doubled both ways. Each such entry has a count of its own.
    """
    return restarted(clone(state, plan), plan)


def structured(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """New units are orthogonal mixtures inside the subspace the source's weights span, read by nothing at first (longer
    heads are clones).

    The function is kept; no unit is a copy, so nothing holds new units together in training. Two exceptions are clones
    by the law: units of the residual stream where norms write to it (after attention and MLP), and positions along
    head_dim (of wk an exact scaled copy, of wo a part). The form is our own: the paper's is not public.
    """
    with jax.ensure_compile_time_eval():  # made on the host, in a traced call too
        starts = mixtures(plan, key=streams.at("structure", 0))
    return started(state, plan, starts)


def _structured_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    return from_starts(plan, mixtures(plan, key=streams.at("structure", 0)))


def scratch(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """The target drawn afresh, optimizer and schedule at step 0: the control that owes the source nothing."""
    config = state.config.replace(model=plan.target)
    return fresh_state(config, init_params(config.model, key=streams.at("init", 0)))


def _scratch_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    key = streams.at("init", 0)

    def one(path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        return init_leaf(plan.target, path, spec, wide_shape(leaf.shape, spec, plan), first, key=key)

    return Leafwise((one,))


_PAPER = "arXiv 2604.04281"

EXACT_COPY = Operator("exact_copy", exact_copy, "exact-copy symmetric", _PAPER, where_clones_are_exact, leafwise=cloned)
PERTURBED = Operator(
    "perturbed", perturbed, "perturbative", _PAPER, unless_noise_shows,
    draws={"perturb": noise_sites}, leafwise=_perturbed_leaf,
)  # fmt: skip
ASYMMETRIC_RESET = Operator(
    "asymmetric_reset", asymmetric_reset, "asymmetric reset", _PAPER, where_clones_are_exact, leafwise=cloned
)
STRUCTURED = Operator(
    "structured", structured, "structured non-clone", _PAPER, where_clones_are_exact,
    draws={"structure": mixture_sites}, clones=False, leafwise=_structured_leaf,
)  # fmt: skip
LOCKSTEP = Operator("lockstep", lockstep, "reference", "growjax", where_clones_are_exact, check_law, leafwise=cloned)
SCRATCH = Operator(
    "scratch", scratch, "control", _PAPER, never,
    draws={"init": target_sites}, control=True, clones=False, leafwise=_scratch_leaf,
)  # fmt: skip

OWN_OPERATORS = (EXACT_COPY, PERTURBED, ASYMMETRIC_RESET, STRUCTURED, LOCKSTEP, SCRATCH)
