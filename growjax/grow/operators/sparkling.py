"""SPARKLING, arXiv 2602.02472."""

from __future__ import annotations

from growjax.grow.building import clone, cloned, restarted
from growjax.grow.factors import warmed_again
from growjax.grow.moments import copied_moments
from growjax.grow.operator import Operator
from growjax.grow.options import Rate, Steps
from growjax.grow.plan import WidthPlan
from growjax.grow.promises import where_clones_are_exact
from growjax.streams import Streams
from growjax.train.state import TrainState


def sparkling(
    state: TrainState, plan: WidthPlan, *, streams: Streams, rewarm: Steps = 250, ratio: Rate = 1.3
) -> TrainState:
    """Weights as in the exact copy; new entries start their moments anew and warm their rate up by themselves.

    arXiv 2602.02472. Old entries keep their moments unscaled (eq. 24), their counts and the shared schedule. New ones'
    rate starts at the shared rate of the step of growth, rises over `rewarm` steps to `ratio` times that, and goes by a
    cosine to the schedule's end over the steps that are left (eq. 27 and 28). The function is kept.

    Weights are the paper's where axes grow by whole multiples (eq. 17). What differs from it:

    - Uneven growth divides each unit by its own number of copies, which keeps the function. The paper divides all of
      them by one number, which keeps the outputs' root mean square alone.
    - Under tied embeddings the last norm's gain has the factor that the paper puts behind the output. Longer heads
      have queries and keys by the law (`growjax.grow.law`).
    - Counts of new entries start anew with their moments, so that bias is corrected as in a first step. The paper says
      nothing of counts.
    - Where eq. 28 has no value: in the schedule's first warm-up, new entries follow it to its end and begin there. They
      rise only as far as there are steps left. From `total_steps` on, and where the schedule was started anew since,
      they have the shared rate.

    A warm-up of an earlier growth goes on in old entries.
    """
    new = restarted(clone(state, plan, copied_moments), plan)
    law = warmed_again(new.law, plan, rewarm, ratio)
    return new.replace(law=law)


SPARKLING = Operator("sparkling", sparkling, "published", "arXiv 2602.02472", where_clones_are_exact, leafwise=cloned)
