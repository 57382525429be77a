"""What becomes of moments, counts and schedule: the parts that operators are composed of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from growjax.grow.blocks import Start, old_scale
from growjax.grow.copying import clone_counts, copy_leaf, new_entries, scaled_copy, without
from growjax.grow.law import leaf_law
from growjax.grow.plan import WidthPlan
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import param_specs
from growjax.train.optim import OptState


def law_moments(opt_state: OptState, plan: WidthPlan) -> OptState:
    """m' = r copy(m), v' = r^2 copy(v): what the wide model's own gradients would have left; counters carried."""
    return OptState(
        mu=scaled_copy(opt_state.mu, plan, lambda law: law.r),
        nu=scaled_copy(opt_state.nu, plan, lambda law: law.r**2),
        count=clone_counts(opt_state.count, plan),
        schedule_step=opt_state.schedule_step,
    )


def copied_moments(opt_state: OptState, plan: WidthPlan) -> OptState:
    """m' = copy(m), v' = copy(v), as if gradients were not spread over copies; counters carried."""
    copies = (scaled_copy(tree, plan, lambda law: None) for tree in (opt_state.mu, opt_state.nu))
    return OptState(*copies, count=clone_counts(opt_state.count, plan), schedule_step=opt_state.schedule_step)


def fresh_moments(opt_state: OptState) -> OptState:
    """An optimizer that has seen nothing: moments and counts 0, the schedule where it was.

    The counts start anew too: zeros under a large count would make a first step of (1 - b1)/sqrt(1 - b2) times the
    rate.
    """
    return opt_state._replace(
        mu=jax.tree.map(jnp.zeros_like, opt_state.mu),
        nu=jax.tree.map(jnp.zeros_like, opt_state.nu),
        count=jax.tree.map(lambda _: jnp.zeros((), jnp.int32), opt_state.count),
    )


def refilled_moments(opt_state: OptState) -> OptState:
    """No direction (m = 0) but the size (v) that there was, counts carried: no first step is frozen or huge."""
    return opt_state._replace(mu=jax.tree.map(jnp.zeros_like, opt_state.mu))


def restart_new_entries(opt_state: OptState, plan: WidthPlan) -> OptState:
    """Moments and counts of every entry with a new coordinate start anew; each such entry keeps a count of its own,
    so that its first steps are bias-corrected as a first step should be."""
    specs = param_specs(plan.source)

    def moment(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        return jnp.where(new_entries(spec, plan), jnp.zeros((), leaf.dtype), leaf) if leaf.ndim else leaf

    def count(spec: ParamSpec, leaf: jax.Array, like: jax.Array) -> jax.Array:
        new = new_entries(spec, plan)
        return jnp.where(new, jnp.zeros_like(like, jnp.int32), leaf) if new.any() else leaf  # on a mesh cut as `like`

    return opt_state._replace(
        mu=map_specs(moment, specs, opt_state.mu),
        nu=map_specs(moment, specs, opt_state.nu),
        count=map_specs(count, specs, opt_state.count, opt_state.mu),
    )


def started_moments(opt_state: OptState, plan: WidthPlan, starts: dict[str, Start]) -> OptState:
    """Moments of weights with starts of their own (`growjax.grow.blocks`): old entries carry theirs, at the scale of
    their gradients; new ones have no direction (m = 0) but the size of the entry they stand beside (v copied), so that
    their first steps are neither frozen nor huge. Counters are carried."""
    specs, rest = param_specs(plan.source), without(plan, tuple(starts))

    def factor(spec: ParamSpec) -> np.ndarray:
        return leaf_law(spec, rest).r / old_scale(spec, plan, starts)

    def mu(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        return jnp.where(new_entries(spec, plan), jnp.zeros((), leaf.dtype), copy_leaf(leaf, spec, plan, factor(spec)))

    return OptState(
        mu=map_specs(mu, specs, opt_state.mu),
        nu=map_specs(lambda s, leaf: copy_leaf(leaf, s, plan, factor(s) ** 2), specs, opt_state.nu),
        count=clone_counts(opt_state.count, plan),
        schedule_step=opt_state.schedule_step,
    )
