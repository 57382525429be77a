"""SPARKLING, arXiv 2602.02472."""

from __future__ import annotations

from growjax.grow.building import clone, cloned, restarted
from growjax.grow.factors import warmed_again
from growjax.grow.operator import Operator
from growjax.grow.options import Steps
from growjax.grow.plan import WidthPlan
from growjax.grow.promises import where_clones_are_exact
from growjax.streams import Streams
from growjax.train.state import TrainState


def sparkling(state: TrainState, plan: WidthPlan, *, streams: Streams, rewarm: Steps = 32) -> TrainState:
    """The exact copy whose new entries start their moments anew and warm their learning rate up again.

    arXiv 2602.02472. Old entries keep moments, counts and rate (and a warm-up of an earlier growth that goes on there);
    in new ones the rate rises over `rewarm` steps. The function is kept.
    """
    new = restarted(clone(state, plan), plan)
    law = warmed_again(new.law, plan, rewarm)
    return new.replace(law=law)


SPARKLING = Operator("sparkling", sparkling, "published", "arXiv 2602.02472", where_clones_are_exact, leafwise=cloned)
