"""`TrainState`: everything a run needs to go on, and the pure step that moves it.

States and batches are checked where they enter a program, by shapes and dtypes alone: it keeps its text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from growjax.config import TrainConfig
from growjax.errors import require
from growjax.limits import require_room
from growjax.model.decoder import Params, init_params, loss, param_shapes, param_specs
from growjax.streams import checked_key
from growjax.train.optim import LawFactors, OptState, global_norm, transformation


class TrainState(struct.PyTreeNode):
    """The full training state, a pytree; `config` is static and travels with it."""

    params: Params
    opt_state: OptState
    step: jax.Array
    """int32: training steps behind these parameters, growth included."""
    law: LawFactors | None = None
    """Factors of the optimizer's constants, where growth asks for them."""
    config: TrainConfig = struct.field(pytree_node=False, default=TrainConfig())


class StepKeys(NamedTuple):
    """Keys of one step. A stream that is not live has no key, and then nothing is drawn from it."""

    dropout: jax.Array | None = None


def optimizer(config: TrainConfig) -> optax.GradientTransformationExtraArgs:
    """The transformation of a training configuration, which any chain of Optax's takes: clipping, moments, decay and
    rate in one. `update(grads, opt_state, params, law=None)` gives updates and the next `opt_state`; with the factors
    of a widened state (`law=state.law`), those of the law."""
    return transformation(config.optim, param_specs(config.model))


def init_state(config: TrainConfig, *, key: jax.Array) -> TrainState:
    """A state at step 0. `key` is the init stream's key at step 0. Raises `UserError` where it cannot fit in memory, or
    where `key` is no key."""
    require_room(config)
    params = init_params(config.model, key=checked_key(key))
    return fresh_state(config, params)


def fresh_state(config: TrainConfig, params: Params) -> TrainState:
    """Given parameters with an optimizer that has seen nothing."""
    chex.assert_trees_all_equal_shapes_and_dtypes(param_shapes(config.model), params)
    opt_state: Any = optimizer(config).init(params)
    return TrainState(params=params, opt_state=opt_state, step=jnp.zeros((), jnp.int32), config=config)


def token_losses(logits_BTV: jax.Array, targets_BT: jax.Array) -> jax.Array:
    """Negative log-likelihood in nats of every target, in the logits' dtype."""
    return optax.softmax_cross_entropy_with_integer_labels(logits_BTV, targets_BT)


def check_batch(batch: tuple[jax.Array, jax.Array]) -> None:
    """Raises `UserError` where a batch is not (inputs, targets), both int32 [B, T]."""
    found = [(str(getattr(x, "dtype", type(x).__name__)), jnp.shape(x)) for x in batch]
    described = " and ".join(f"{dtype} {list(shape)}" for dtype, shape in found)
    holds = len(found) == 2 and found[0] == found[1] and found[0][0] == "int32" and len(found[0][1]) == 2
    require(holds, f"a batch is {described}", "give (inputs, targets), both int32 [B, T]")


def loss_fn(
    params: Params, config: TrainConfig, batch: tuple[jax.Array, jax.Array], *, dropout_key: jax.Array | None
) -> jax.Array:
    """Mean negative log-likelihood in nats per token of a batch (inputs, targets), both int32 [B, T]. Raises
    `UserError` for a batch that is none."""
    check_batch(batch)
    inputs, targets = batch
    return loss(config.model, params, inputs, targets, dropout_key=dropout_key)


def train_step(
    state: TrainState, batch: tuple[jax.Array, jax.Array], *, keys: StepKeys | None = None
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step on a batch (inputs, targets), both int32 [B, T]; metrics, `loss` and `grad_norm`, are of before the
    update. To be jitted: `jax.jit(train_step, donate_argnums=0)` uses the state up."""
    dropout_key = keys.dropout if keys else None
    loss, grads = jax.value_and_grad(loss_fn)(state.params, state.config, batch, dropout_key=dropout_key)
    return apply_gradients(state, loss, grads)


def apply_gradients(
    state: TrainState, loss: jax.Array, grads: Params, *, norm: jax.Array | None = None
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The second half of a step: the update that a batch's loss and gradients ask for. `norm` is their global norm,
    where `state` and `grads` are a part of all."""
    updates, opt_state = optimizer(state.config).update(grads, state.opt_state, state.params, law=state.law, norm=norm)
    params = optax.apply_updates(state.params, updates)
    if norm is None:
        norm = global_norm(grads, state.law.clip if state.law else None)
    metrics = {"loss": loss, "grad_norm": norm}
    return state.replace(params=params, opt_state=opt_state, step=state.step + 1), metrics
