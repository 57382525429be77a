"""AdamW as an Optax transformation that can follow the law of growth.

Optax's own AdamW has one epsilon, one count and one learning rate for everything. A widened state may need them entry
by entry (see `growjax.grow.law`), so the moments are kept here, with Optax's formulas and in Optax's order:
clip, moments, decay, rate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from growjax.config import OptimConfig
from growjax.model.axes import map_specs


class OptState(NamedTuple):
    """State of AdamW, each tree of the parameters' structure."""

    mu: Any
    nu: Any
    count: Any
    """int32, a scalar for each leaf, or one count for each entry where part of a leaf was started anew."""
    schedule_step: jax.Array
    """int32: how far the learning-rate schedule has gone."""


class LawFactors(NamedTuple):
    """What multiplies the optimizer's constants, as trees of arrays that broadcast to each parameter.

    With them a widened model's run is the narrow model's (growth_law: lr' = s lr, wd' = wd / s, eps' = r eps, and
    squared gradients counted w times in the global norm).
    """

    lr: Any
    decay: Any
    eps: Any
    clip: Any


def schedule(config: OptimConfig) -> optax.Schedule:
    """Learning rate at a step: linear warm-up from 0, then a cosine down to `end_fraction` of the peak."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=config.total_steps,
        end_value=config.learning_rate * config.end_fraction,
    )


def global_norm(grads: Any, clip_weights: Any | None = None) -> jax.Array:
    """Root of the sum of squares over all leaves, each square counted `clip_weights` times."""
    if clip_weights is None:
        return optax.tree.norm(grads)
    squares = jax.tree.map(lambda g, w: jnp.sum(w * jnp.square(g)), grads, clip_weights)
    return jnp.sqrt(optax.tree.sum(squares))


def adamw(config: OptimConfig, specs: Any) -> optax.GradientTransformationExtraArgs:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2; decay times the rate, as in Optax).

    `specs` is the tree of `ParamSpec`: it says which parameters decay. `update` takes `law`, a `LawFactors` or None.
    """
    rate = schedule(config)

    def init(params: Any) -> OptState:
        return OptState(
            mu=optax.tree.zeros_like(params),
            nu=optax.tree.zeros_like(params),
            count=jax.tree.map(lambda _: jnp.zeros((), jnp.int32), params),
            schedule_step=jnp.zeros((), jnp.int32),
        )

    def update(
        grads: Any, state: OptState, params: Any = None, *, law: LawFactors | None = None, **_: Any
    ) -> tuple[Any, OptState]:
        if config.clip_norm > 0:
            norm = global_norm(grads, law.clip if law else None)
            shrink = jnp.where(norm < config.clip_norm, jnp.ones_like(norm), config.clip_norm / norm)
            grads = jax.tree.map(lambda g: g * shrink.astype(g.dtype), grads)
        mu = optax.tree.update_moment(grads, state.mu, config.b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(grads, state.nu, config.b2, 2)
        count = jax.tree.map(lambda c: c + 1, state.count)
        lr = rate(state.schedule_step)
        ones = jax.tree.map(lambda _: 1.0, mu) if law is None else None

        def step(spec, p, m, v, c, lr_factor, decay, eps):
            # Powers in the leaf's own precision, as optax.tree.bias_correction has them.
            m_hat = m / (1 - config.b1 ** c.astype(m.dtype))
            v_hat = v / (1 - config.b2 ** c.astype(v.dtype))
            change = m_hat / (jnp.sqrt(v_hat) + config.eps * eps)
            if spec.decayed and config.weight_decay:
                change = change + config.weight_decay * decay * p
            return (-jnp.asarray(lr) * lr_factor * change).astype(p.dtype)

        factors = (law.lr, law.decay, law.eps) if law else (ones, ones, ones)
        updates = map_specs(step, specs, params, mu, nu, count, *factors)
        return updates, OptState(mu, nu, count, state.schedule_step + 1)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
