"""Optimizers that can follow the law of growth: AdamW, Lion, Muon and SGD with momentum.

Optax's own have one epsilon, one count and one learning rate for everything. A widened state may need them entry by
entry (see `growjax.grow.factors`), so the moments are kept here, with Optax's formulas and in Optax's order: clip,
moments, direction, decay, rate. Without factors the updates are Optax's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from growjax.config import OptimConfig
from growjax.model.axes import SpecTree, map_specs
from growjax.train.directions import DIRECTIONS, keeps_nu


class OptState(NamedTuple):
    """State of an optimizer, each tree of the parameters' structure."""

    mu: chex.ArrayTree
    nu: chex.ArrayTree
    """A scalar 0 for every leaf of which the optimizer keeps no second moment."""
    count: Any
    """int32, a scalar for each leaf, or one count for each entry where part of a leaf was started anew."""
    schedule_step: jax.Array
    """int32: how far the learning-rate schedule has gone."""


class LawFactors(NamedTuple):
    """What multiplies the optimizer's constants, as trees of arrays that broadcast to each parameter.

    With the law's own a widened model's run is the narrow model's (`growjax.grow.factors`).
    """

    lr: chex.ArrayTree
    decay: chex.ArrayTree
    eps: chex.ArrayTree
    clip: chex.ArrayTree
    """How often each squared gradient counts in the global norm."""
    warm: chex.ArrayTree | None = None
    """int32: steps over which an entry's rate rises, by its own count; 0 leaves the rate alone. None: all 0."""
    ratio: chex.ArrayTree | None = None
    """What an entry's rate rises to, over the shared rate at which its count began, and from which it rises: then a
    cosine of its own goes on (`_rewarmed`). 0: it rises from 0 to the shared rate. None: all 0."""


def schedule(config: OptimConfig) -> optax.Schedule:
    """Learning rate at a step: linear warm-up from 0, then a cosine down to `end_fraction` of the peak."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=config.total_steps,
        end_value=config.learning_rate * config.end_fraction,
    )


def global_norm(grads: chex.ArrayTree, clip_weights: chex.ArrayTree | None = None) -> jax.Array:
    """Root of the sum of squares over all leaves, each square counted `clip_weights` times."""
    if clip_weights is None:
        return optax.tree.norm(grads)
    squares = jax.tree.map(lambda g, w: jnp.sum(w * jnp.square(g)), grads, clip_weights)
    return jnp.sqrt(optax.tree.sum(squares))


def _warmed(rate: jax.Array, count: jax.Array, warm: jax.Array) -> jax.Array:
    """The rate of entries that still warm up: count/warm of it."""
    share = jnp.where(warm > 0, jnp.minimum(count / jnp.maximum(warm, 1), 1.0), 1.0)
    return rate * share


def _rewarmed(
    config: OptimConfig, shared: jax.Array, step: jax.Array, count: jax.Array, warm: jax.Array, ratio: jax.Array
) -> jax.Array:
    """The rate of entries with a ratio: arXiv 2602.02472, eq. 27 and 28. `shared` is everyone's at `step`, and `count`
    the steps that an entry has had before this one.

    It begins at te = step - count, but no earlier than the shared warm-up ends. From the rate e at te it rises over
    `warm` steps to ratio e, as far as steps are left, then goes by a cosine to the shared end at `total_steps`. Before
    te, from `total_steps` on, and where the schedule was started anew after te, it is the shared rate.
    """
    begun = jnp.maximum(step - count, config.warmup_steps)
    start, end, since = schedule(config)(begun), config.learning_rate * config.end_fraction, step - begun
    rise = start * (1 + (ratio - 1) * since / jnp.maximum(warm, 1))
    share = (since - warm) / jnp.maximum(config.total_steps - begun - warm, 1)
    fall = end + (ratio * start - end) * 0.5 * (1 + jnp.cos(jnp.pi * share))
    under_way = (step >= count) & (step >= config.warmup_steps) & (step < config.total_steps)
    own = (warm > 0) & (ratio > 0)
    alone = jnp.where(under_way, jnp.where(since < warm, rise, fall), shared)
    return jnp.where(own, alone, _warmed(shared, count + 1, warm))


def transformation(config: OptimConfig, specs: SpecTree) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a configuration, with decoupled decay (decay times the rate, as in Optax).

    `specs` is the tree of `ParamSpec`: it says which parameters decay, and which are matrices. `update` takes `law`,
    a `LawFactors` or None, and `norm`, the global norm of gradients of which it is given only a part.
    """
    rate, direction = schedule(config), DIRECTIONS[config.name]

    def init(params: chex.ArrayTree) -> OptState:
        return OptState(
            mu=optax.tree.zeros_like(params),
            nu=map_specs(lambda s, p: jnp.zeros(p.shape if keeps_nu(config, s) else (), p.dtype), specs, params),
            count=jax.tree.map(lambda _: jnp.zeros((), jnp.int32), params),
            schedule_step=jnp.zeros((), jnp.int32),
        )

    def update(
        grads: chex.ArrayTree,
        state: OptState,
        params: chex.ArrayTree | None = None,
        *,
        law: LawFactors | None = None,
        norm: jax.Array | None = None,
        **_: object,
    ) -> tuple[chex.ArrayTree, OptState]:
        if config.clip_norm > 0:
            norm = global_norm(grads, law.clip if law else None) if norm is None else norm
            shrink = jnp.where(norm < config.clip_norm, jnp.ones_like(norm), config.clip_norm / norm)
            grads = jax.tree.map(lambda g: g * shrink.astype(g.dtype), grads)
        count = jax.tree.map(lambda c: c + 1, state.count)
        lr = jnp.asarray(rate(state.schedule_step))
        ones = jax.tree.map(lambda _: 1.0, grads) if law is None else None

        def step(spec, p, g, m, v, c, lr_factor, decay, eps, warm, ratio):
            change, m, v = direction(config, spec, g, m, v, c, eps)
            if spec.decayed and config.weight_decay:
                change = change + config.weight_decay * decay * p
            if warm is None:
                own = lr
            elif ratio is None:
                own = _warmed(lr, c, warm)
            else:
                own = _rewarmed(config, lr, state.schedule_step, c - 1, warm, ratio)
            return (-own * lr_factor * change).astype(p.dtype), m, v

        factors = (law.lr, law.decay, law.eps) if law else (ones, ones, ones)
        none = jax.tree.map(lambda _: None, grads)
        warms = (none if tree is None else tree for tree in ((law.warm, law.ratio) if law else (None, None)))
        moved = map_specs(step, specs, params, grads, state.mu, state.nu, count, *factors, *warms)
        updates, mu, nu = (map_specs(lambda _, out, i=i: out[i], specs, moved) for i in range(3))
        return updates, OptState(mu, nu, count, state.schedule_step + 1)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
