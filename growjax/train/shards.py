"""One training over several devices, with the bits of one: a batch in fixed virtual shards.

Every shard's gradients come from one and the same single-device program, wherever it runs. They are gathered on the
first device, summed there by a fixed tree of pairs, and the update is a program of that device alone. How many devices
there are decides where a shard is computed and nothing else. (One program over all devices, as `shard_map` makes it, is
compiled otherwise for one device than for two, and then differs in its last bits.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from growjax.data.batches import batch_at, window_ids
from growjax.digests import leaf_digests
from growjax.errors import UserError
from growjax.streams import at_site, at_step
from growjax.train.loop import Feed, Luck, Run, Trace, evaluate
from growjax.train.state import TrainState, apply_gradients, loss_fn


@partial(jax.jit, static_argnames=("config", "batch_size", "shards"))
def _shard(
    params: Any, feed: Feed, luck: Luck, lag: jax.Array, shard: jax.Array, *, config: Any, batch_size: int, shards: int
) -> tuple[jax.Array, Any]:
    """(loss, gradients) of one shard: rows shard, shard + 1, ... of B/shards each of the batch of step `lag`."""
    order_key = None if luck.order is None else at_step(luck.order, lag)
    ids = window_ids(lag, batch_size, feed.train.shape[0], key=order_key, order=luck.fixed_order)
    rows = batch_size // shards
    inputs, targets = batch_at(feed.train, jax.lax.dynamic_slice_in_dim(ids, shard * rows, rows))
    key = None if luck.dropout is None else at_site(at_step(luck.dropout, lag), "shard", shard)
    return jax.value_and_grad(loss_fn)(params, config, (inputs, targets), dropout_key=key)


def tree_sum(parts: Sequence[Any]) -> Any:
    """The sum of trees by a fixed tree of pairs: neighbours first, then neighbouring pairs."""
    parts = list(parts)
    while len(parts) > 1:
        pairs = [jax.tree.map(jnp.add, a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + (parts[-1:] if len(parts) % 2 else [])
    return parts[0]


@partial(jax.jit, donate_argnames="state")
def _update(state: TrainState, parts: list[tuple[jax.Array, Any]]) -> tuple[TrainState, tuple[Any, ...]]:
    loss, grads = jax.tree.map(lambda x: x / len(parts), tree_sum(parts))
    state, metrics = apply_gradients(state, loss, grads)
    row = (metrics["loss"].astype(jnp.float32), metrics["grad_norm"].astype(jnp.float32), leaf_digests(state.params))
    return state, row


@jax.jit
def _mark(state: TrainState, windows: jax.Array) -> tuple[jax.Array, jax.Array]:
    return evaluate(state, windows), leaf_digests(state)


def run_sharded(
    state: TrainState,
    feed: Feed,
    luck: Luck,
    *,
    batch_size: int,
    shards: int,
    segments: int,
    segment_steps: int,
    start: int = 0,
    devices: Sequence[Any] | None = None,
) -> Run:
    """`growjax.train.loop.run` over virtual shards, on all devices (or those given). The state handed in is used up.

    Raises `UserError` where the batch cannot be cut into so many equal parts.
    """
    if shards < 1 or batch_size % shards:
        raise UserError(f"a batch of {batch_size} has no {shards} equal shards", "choose a divisor of the batch size")
    devices = list(devices or jax.devices())[:shards]
    static = {"config": state.config, "batch_size": batch_size, "shards": shards}
    here = [jax.device_put((feed, luck), d) for d in devices]
    steps: list[Any] = []
    marks = [_mark(state, feed.evaluation)]
    prints = _fingerprints(state, feed, luck, static)
    with ThreadPoolExecutor(len(devices)) as pool:
        for number in range(segments * segment_steps):
            copies = [jax.device_put(state.params, d) for d in devices]

            def part(shard: int, copies: list[Any] = copies, lag: int = start + number) -> Any:
                at = shard * len(devices) // shards
                step, place = jax.device_put((np.int32(lag), np.int32(shard)), devices[at])
                return jax.block_until_ready(_shard(copies[at], here[at][0], here[at][1], step, place, **static))

            parts = jax.device_put(list(pool.map(part, range(shards))), devices[0])
            state, row = _update(state, parts)
            steps.append(row)
            if (number + 1) % segment_steps == 0:
                marks.append(_mark(state, feed.evaluation))
    eval_loss, of_states = zip(*jax.device_get(marks), strict=True)
    rows: Any = [np.stack(x) for x in zip(*jax.device_get(steps), strict=True)]
    marked: Any = (np.array(eval_loss, np.float64), np.stack(of_states))
    return Run(state, Trace(rows[0], rows[1], rows[2], marked[0], marked[1]), prints)


def _fingerprints(state: TrainState, feed: Feed, luck: Luck, static: dict[str, Any]) -> str:
    """SHA-256 over the lowered texts of the three programs: the same wherever they run."""
    shapes: Any = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, feed, luck))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    of_state, of_feed, of_luck = shapes
    shard: Any = partial(_shard, **static)
    part = jax.eval_shape(shard, of_state.params, of_feed, of_luck, number, number)
    texts = [
        _shard.lower(of_state.params, of_feed, of_luck, number, number, **static).as_text(),
        _update.lower(of_state, [part] * static["shards"]).as_text(),
        _mark.lower(of_state, of_feed.evaluation).as_text(),
    ]
    return hashlib.sha256("".join(texts).encode()).hexdigest()
