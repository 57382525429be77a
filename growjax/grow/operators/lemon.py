"""LEMON: Wang et al. 2024, arXiv 2310.07999."""

from __future__ import annotations

import jax

from growjax.grow.blocks import from_starts, split_sites, started_params, uneven_splits
from growjax.grow.building import clone, fresh, with_norm_eps
from growjax.grow.leafwise import Leafwise
from growjax.grow.operator import Operator
from growjax.grow.plan import Options, WidthPlan, dealt_plan
from growjax.grow.promises import where_means_are_exact
from growjax.streams import Streams
from growjax.train.state import TrainState


def in_rounds(plan: WidthPlan, streams: Streams) -> WidthPlan:
    """The plan with copies dealt in rounds, to norms whose epsilon makes up for the remainder (section 4)."""
    old, new = plan.source.d_model, plan.target.d_model
    return with_norm_eps(dealt_plan(plan.source, plan.target), new // old * old / new)


def lemon(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Each weight split into unequal parts that sum to it (longer heads: equal ones), norms exact at any width: the
    function is kept.

    Wang et al. 2024, section 4: the remainder of a norm is filled with zeros (RMSNorm) or the mean (LayerNorm), and its
    gain and epsilon make up for that. The parts are drawn (see `growjax.grow.blocks.uneven_splits`); along head_dim
    positions are cloned by the law, in equal parts. Where LayerNorms write to the residual stream, d_model grows
    exactly to whole multiples alone.
    """
    with jax.ensure_compile_time_eval():  # made on the host, in a traced call too
        starts = uneven_splits(plan, key=streams.at("structure", 0))
    return fresh(clone(state, plan), started_params(state.params, plan, starts))


def _by_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    return from_starts(plan, uneven_splits(plan, key=streams.at("structure", 0)))


LEMON = Operator(
    "lemon", lemon, "published", "arXiv 2310.07999", where_means_are_exact,
    draws={"structure": split_sites}, follows=in_rounds, clones=False, leafwise=_by_leaf,
)  # fmt: skip
