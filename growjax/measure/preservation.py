"""What a candidate preserves: the function at step 0, after one step, and along a trajectory; which parts of the law
hold; and whether noise that was added can ever show.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from growjax.config import TrainConfig
from growjax.errors import UserError
from growjax.grow.copying import clone_params
from growjax.grow.factors import copy_factors, law_factors, no_factors, no_warm, times_factors
from growjax.grow.moments import law_moments
from growjax.grow.plan import WidthPlan
from growjax.grow.vocab import grow_vocab
from growjax.measure.divergence import divergences
from growjax.measure.escape import activation_escape, gradient_escape, tree_escape
from growjax.model.decoder import Params
from growjax.streams import Streams, root_key
from growjax.train.loop import Feed, advance, run_keys
from growjax.train.programs import Programs
from growjax.train.state import TrainState, loss_fn


class Preservation(NamedTuple):
    """Largest logit difference on held-out tokens between a candidate and its source, both in one deterministic run."""

    zero_step: float
    first_step: float
    trajectory: float


def preservation(
    source: TrainState, wide: TrainState, *, feed: Feed, steps: int, batch_size: int, programs: Programs
) -> Preservation:
    """Measured after 0, 1 and `steps` steps of both, without dropout, on the same batches."""
    fixed = run_keys(Streams(root_key(0, "study")), ())

    def apart(n: int) -> float:
        a, b = (
            advance(s, n, feed=feed, run_keys=fixed, batch_size=batch_size, programs=programs) if n else s
            for s in (source, wide)
        )
        return divergences((a.config.model, a.params), (b.config.model, b.params), feed.evaluation)["logit_max"]

    return Preservation(apart(0), apart(1), apart(steps))


def law_parts(source: TrainState, plan: WidthPlan, wide: TrainState) -> dict[str, bool]:
    """Which parts of the exact-trajectory law a candidate follows, entry by entry; `lockstep` follows all.

    `plan` is the one that the operator followed (`growjax.grow.widen.followed_plan`).
    """

    def same(a: object, b: object) -> bool:
        if jax.tree.structure(a) != jax.tree.structure(b):
            return False
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return all(bool(jnp.all(x == y)) for x, y in pairs if x.size and y.size)

    source, plan = grow_vocab(source, plan)  # new tokens cost the probabilities alone
    moments = law_moments(source.opt_state, plan)
    parts = {
        "weights": same(clone_params(source.params, plan), wide.params),
        "first moments": same(moments.mu, wide.opt_state.mu),
        "second moments": same(moments.nu, wide.opt_state.nu),
        "counts": same(moments.count, wide.opt_state.count),
        "schedule": same(moments.schedule_step, wide.opt_state.schedule_step)
        and source.config.optim == wide.config.optim,
    }
    carried = None if source.law is None else copy_factors(source.law, plan)
    try:
        law = times_factors(carried, law_factors(plan, source.config.optim))
    except UserError:  # no law for this optimizer and plan
        law = None
    own = wide.law or no_factors(plan)
    described = {"learning rates": "lr", "decay": "decay", "epsilon": "eps", "clipping": "clip"}
    parts |= {
        name: law is not None and same(getattr(law, field), getattr(own, field)) for name, field in described.items()
    }
    for field in ("warm", "ratio"):
        trees = (getattr(f, field, None) for f in (carried, wide.law))
        parts["learning rates"] &= same(*(no_warm(plan) if tree is None else tree for tree in trees))
    return parts


class Escapes(NamedTuple):
    """Shares of length outside the cloned subspace (see `growjax.measure.escape`)."""

    weights: float
    gradients: float
    activations: float

    @property
    def dead(self) -> bool:
        """Whether weights have left the subspace while values and gradients stay the narrow model's: nothing will ever
        come of it, unless dropout distinguishes the copies. A thousandth of the weights' escape counts as staying."""
        return self.weights > 1e-4 and max(self.gradients, self.activations) < 1e-3 * self.weights


@partial(jax.jit, static_argnames="config")
def _gradient(params: Params, batch: tuple[jax.Array, jax.Array], *, config: TrainConfig) -> Params:
    return jax.grad(loss_fn)(params, config, batch, dropout_key=None)


def escapes(wide: TrainState, plan: WidthPlan, windows_BT: jax.Array) -> Escapes:
    """How far a candidate is from being clones, in weights, gradients and activations, on windows [B, T + 1].

    `plan` is the one that the operator followed (`growjax.grow.widen.followed_plan`).
    """
    tokens = windows_BT.astype(jnp.int32)
    gradient = _gradient(wide.params, (tokens[:, :-1], tokens[:, 1:]), config=wide.config)
    return Escapes(
        tree_escape(wide.params, plan),
        gradient_escape(gradient, plan),
        activation_escape(wide.config.model, wide.params, plan, windows_BT),
    )
