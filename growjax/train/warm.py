"""Moments for weights that come without any: what Adam would keep of gradients at these weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp

from growjax.errors import require
from growjax.streams import at_step
from growjax.train.optim import OptState
from growjax.train.state import TrainState, loss_fn, optimizer


def warmed_state(state: TrainState, windows: jax.Array, *, dropout_key: jax.Array | None = None) -> TrainState:
    """The state with moments of N forward and backward passes, one for each batch of `windows`, integers
    [N, B, T + 1]. Weights, step and schedule stay.

    The moments are the running means that N updates without a change of the weights would leave, gradients clipped as
    in training, and counts are N: divided by 1 - b^N, as the optimizer does in each step, they estimate the gradient's
    mean and mean square (Kingma & Ba 2015, arXiv 1412.6980, section 3). Pure; `dropout_key` is a stream's key, from
    which pass n takes that of step n, and without it nothing is dropped. Raises `UserError` where there is no batch:

        state = warmed_state(load_checkpoint("my-llama")[0], windows)
    """
    chex.assert_rank(windows, 3)
    require(windows.shape[0] > 0, "no batches to estimate moments from", "give at least one")
    return state.replace(opt_state=_passes(state, windows, dropout_key))


@partial(jax.jit)
def _passes(state: TrainState, windows: jax.Array, dropout_key: jax.Array | None) -> OptState:
    made = optimizer(state.config)

    def one(opt_state: Any, at: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        n, rows = at
        batch = rows[:, :-1].astype(jnp.int32), rows[:, 1:].astype(jnp.int32)
        key = None if dropout_key is None else at_step(dropout_key, n)
        grads = jax.grad(loss_fn)(state.params, state.config, batch, dropout_key=key)
        return made.update(grads, opt_state, state.params, law=state.law)[1], None

    start: Any = made.init(state.params)
    end: OptState = jax.lax.scan(one, start, (jnp.arange(windows.shape[0]), windows))[0]
    return end._replace(schedule_step=state.opt_state.schedule_step)
