"""HyperCloning: Samragh et al. 2024, arXiv 2409.12903."""

from __future__ import annotations

from growjax.draws import Sites
from growjax.grow.building import clone, cloned, fresh
from growjax.grow.leafwise import Leafwise
from growjax.grow.noise import input_noise, noise_sites, noisy, sigma_of_snr
from growjax.grow.operator import Operator
from growjax.grow.options import Decibels
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import check_whole_multiples, where_clones_are_exact
from growjax.streams import Streams
from growjax.train.state import TrainState


def hypercloning(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Every matrix tiled and divided by how often its input is tiled: the function is kept.

    Samragh et al. 2024, section 3.2, the symmetric form. Whole multiples only.
    """
    return fresh(clone(state, plan))


def hypercloning_noisy(state: TrainState, plan: WidthPlan, *, streams: Streams, snr_db: Decibels = 10.0) -> TrainState:
    """HyperCloning with noise added to one copy of an input and taken from its other: the function is kept.

    Samragh et al. 2024, section 3.3; the noise lies `snr_db` decibels under each matrix, each layer's by itself. Copies
    go two by two: a third one has no noise, nor has the head. Whole multiples only.
    """
    new = fresh(clone(state, plan))
    noisy = input_noise(new.params, plan, sigma_of_snr(snr_db), "pairs", key=streams.at("perturb", 0))
    return new.replace(params=noisy)


def _pairs_drawn(plan: WidthPlan, options: Options) -> Sites:
    return noise_sites(plan, {"cancel": "pairs"})


def _noisy_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    noise = noisy(plan, sigma_of_snr(options["snr_db"]), "pairs", key=streams.at("perturb", 0))
    return cloned(plan, streams, options).then(noise)


_PAPER = "arXiv 2409.12903"

HYPERCLONING = Operator(
    "hypercloning", hypercloning, "published", _PAPER, where_clones_are_exact, check_whole_multiples, leafwise=cloned
)
HYPERCLONING_NOISY = Operator(
    "hypercloning_noisy", hypercloning_noisy, "published", _PAPER, where_clones_are_exact, check_whole_multiples,
    draws={"perturb": _pairs_drawn}, leafwise=_noisy_leaf,
)  # fmt: skip
