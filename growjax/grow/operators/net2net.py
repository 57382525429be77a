"""Net2Net: Chen et al. 2016, arXiv 1511.05641."""

from __future__ import annotations

from growjax.draws import Sites, integers
from growjax.grow.building import clone, cloned, fresh
from growjax.grow.operator import Operator
from growjax.grow.plan import HeadMap, Options, WidthPlan, dealt_plan
from growjax.grow.promises import where_clones_are_exact
from growjax.model.components import components
from growjax.streams import Streams
from growjax.train.state import TrainState


def drawn_copies(plan: WidthPlan, streams: Streams) -> WidthPlan:
    """The plan with copies drawn at random (eq. 2), by the structure stream's key at step 0."""
    return dealt_plan(plan.source, plan.target, key=streams.at("structure", 0))


def copies_drawn(plan: WidthPlan, options: Options) -> Sites:
    """What `drawn_copies` draws: keys by number, as child i of a split is what folding i in gives."""
    heads = plan.maps["heads"]
    assert isinstance(heads, HeadMap)
    embed = None if "embed" in components(plan.source).even else plan.maps["embed"]
    axes = [heads.groups, heads.inner, embed, plan.maps["mlp"]]
    return [([i], integers(m.new - m.old, m.old, "int64")) for i, m in enumerate(axes) if m and m.new != m.old]


def net2net(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """New units are copies of units drawn at random, and readers divide by the number of copies: the function is kept.

    Chen et al. 2016, eq. 2 and 3. Under LayerNorm the residual stream is copied in rounds, since uneven copies would
    shift its mean.
    """
    return fresh(clone(state, plan))


NET2NET = Operator(
    "net2net", net2net, "published", "arXiv 1511.05641", where_clones_are_exact,
    draws={"structure": copies_drawn}, follows=drawn_copies, leafwise=cloned,
)  # fmt: skip
