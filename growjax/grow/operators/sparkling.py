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

    arXiv 2602.02472. Moments of old entries are kept as they are, unscaled (eq. 24), and these follow the shared
    schedule. The rate of new ones starts at the shared rate of the step of growth, rises over `rewarm` steps to `ratio`
    times that, and goes by a cosine to the schedule's end over what is left (eq. 27 and 28). The function is kept.

    At whole multiples the weights are the paper's (eq. 17). What differs: where an axis grows unevenly, each unit is
    divided by its own number of copies, which keeps the function, and not all of them by one number, which keeps their
    root mean square alone; under tied embeddings the final norm's gain carries the factor that the paper puts behind
    the output; what norms write to and longer heads have the law's factors (`growjax.grow.law`), which are 1 at whole
    multiples but for heads. New entries' counts start anew with their moments, of which the paper says nothing. Neither
    does it say what to do where eq. 28 has no value: in the schedule's first warm-up, new entries follow it to its end
    and begin there; they rise only as far as there are steps left, and have the shared rate when there are none.
    A warm-up of an earlier growth goes on in old entries.
    """
    new = restarted(clone(state, plan, copied_moments), plan)
    law = warmed_again(new.law, plan, rewarm, ratio)
    return new.replace(law=law)


SPARKLING = Operator("sparkling", sparkling, "published", "arXiv 2602.02472", where_clones_are_exact, leafwise=cloned)
