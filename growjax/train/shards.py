"""One training over several devices, with the bits of one: a batch in fixed virtual shards.

Every shard's gradients come from one and the same single-device program, wherever it runs. They are gathered on the
first device, summed there by a fixed tree of pairs, and the update is a program of that device alone. How many devices
there are decides where a shard is computed and nothing else. (One program over all devices, as `shard_map` makes it, is
compiled otherwise for one device than for two, and then differs in its last bits.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from growjax.config import TrainConfig
from growjax.data.batches import batch_at, window_ids
from growjax.digests import leaf_digests
from growjax.errors import UserError
from growjax.model.decoder import Params
from growjax.streams import at_site, at_step
from growjax.train.check import check_state
from growjax.train.loop import Feed, Run, RunKeys, Trace, check_feed, evaluate
from growjax.train.programs import Programs, text_digest
from growjax.train.state import TrainState, apply_gradients, loss_fn

Tree = TypeVar("Tree")


@partial(jax.jit, static_argnames="batch_size")
def _batch(feed: Feed, run_keys: RunKeys, lag: jax.Array, *, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Inputs and targets of step `lag`, drawn once for all shards."""
    order_key = None if run_keys.order is None else at_step(run_keys.order, lag)
    return batch_at(
        feed.train, window_ids(lag, batch_size, feed.train.shape[0], key=order_key, order=run_keys.fixed_order)
    )


@partial(jax.jit, static_argnames=("config", "shards"))
def _shard(
    params: Params,
    batch: tuple[jax.Array, jax.Array],
    dropout: jax.Array | None,
    lag: jax.Array,
    shard: jax.Array,
    *,
    config: TrainConfig,
    shards: int,
) -> tuple[jax.Array, Params]:
    """(loss, gradients) of one shard of the batch of step `lag`: the rows of its B/shards windows."""
    rows = batch[0].shape[0] // shards
    mine = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, shard * rows, rows), batch)
    key = None if dropout is None else at_site(at_step(dropout, lag), "shard", shard)
    return jax.value_and_grad(loss_fn)(params, config, mine, dropout_key=key)


batch_of_step, shard_gradients = _batch, _shard
"""The programs of a batch and of one shard, for `growjax.mesh`."""


def tree_sum(parts: Sequence[Tree]) -> Tree:
    """The sum of trees by a fixed tree of pairs: neighbours first, then neighbouring pairs."""
    parts = list(parts)
    while len(parts) > 1:
        pairs = [jax.tree.map(jnp.add, a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + (parts[-1:] if len(parts) % 2 else [])
    return parts[0]


@partial(jax.jit, donate_argnames="state")
def _update(state: TrainState, parts: list[tuple[jax.Array, Params]]) -> tuple[TrainState, tuple[jax.Array, ...]]:
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
    run_keys: RunKeys,
    *,
    batch_size: int,
    shards: int,
    segments: int,
    segment_steps: int,
    start: int = 0,
    devices: Sequence[Any] | None = None,
    programs: Programs | None = None,
) -> Run:
    """`growjax.train.loop.run` over virtual shards, on all devices (or those given). The state handed in is used up.
    `programs` keeps the digest of the modules for the next run of the same programs.

    Raises `UserError` where the batch cannot be cut into so many equal parts, or for a state whose arrays are not those
    of its configuration.
    """
    check_state(state)
    if shards < 1 or batch_size % shards:
        raise UserError(f"a batch of {batch_size} has no {shards} equal shards", "choose a divisor of the batch size")
    check_feed(feed)
    devices = list(devices or jax.devices())[:shards]
    static = {"config": state.config, "shards": shards}
    steps: list[tuple[jax.Array, ...]] = []
    marks = [_mark(state, feed.evaluation)]
    prints = sharded_fingerprint(state, feed, run_keys, batch_size=batch_size, shards=shards)
    kept, modules = programs or Programs(), ""
    with ThreadPoolExecutor(len(devices)) as pool:
        for number in range(segments * segment_steps):
            lag = np.int32(start + number)
            batch = _batch(feed, run_keys, lag, batch_size=batch_size)
            copies = [jax.device_put((state.params, batch, run_keys.dropout, lag), d) for d in devices]

            def part(shard: int, copies: list[tuple] = copies) -> tuple[jax.Array, Params]:
                at = shard * len(devices) // shards
                place = jax.device_put(np.int32(shard), devices[at])
                return jax.block_until_ready(_shard(*copies[at], place, **static))

            parts = jax.device_put(list(pool.map(part, range(shards))), devices[0])
            state, row = _update(state, parts)
            steps.append(row)
            if not modules:  # asked of the arrays themselves, jax finds what it has compiled for them
                place = jax.device_put(np.int32(0), devices[0])
                called = (
                    _batch.lower(feed, run_keys, lag, batch_size=batch_size),
                    _shard.lower(*copies[0], place, **static),
                    _update.lower(state, parts),
                    _mark.lower(state, feed.evaluation),
                )
                modules = kept.modules(prints, called)
            if (number + 1) % segment_steps == 0:
                marks.append(_mark(state, feed.evaluation))
    eval_loss, of_states = zip(*jax.device_get(marks), strict=True)
    rows: Any = [np.stack(x) for x in zip(*jax.device_get(steps), strict=True)]
    marked: Any = (np.array(eval_loss, np.float64), np.stack(of_states))
    return Run(state, Trace(rows[0], rows[1], rows[2], marked[0], marked[1]), prints, modules)


def traced_sharded(config: TrainConfig, *, batch_size: int, shards: int) -> dict[str, Callable[..., object]]:
    """The programs that draw, by name, for a walk: `batch` of (feed, run_keys, lag), `shard` of (params, batch, dropout
    key, lag, shard)."""
    return {
        "batch": partial(_batch, batch_size=batch_size),
        "shard": partial(_shard, config=config, shards=shards),
    }


def sharded_fingerprint(state: TrainState, feed: Feed, run_keys: RunKeys, *, batch_size: int, shards: int) -> str:
    """SHA-256 over the lowered texts of the four programs: the same wherever they run."""
    lowered = lowered_programs(state, feed, run_keys, batch_size=batch_size, shards=shards)
    return text_digest("".join(one.as_text() for one in lowered))


def lowered_programs(
    state: TrainState,
    feed: Feed,
    run_keys: RunKeys,
    *,
    batch_size: int,
    shards: int,
    device: Any = None,
) -> list[jax.stages.Lowered]:
    """The four programs, of shapes alone: of a batch, of a shard, of the update, and of an evaluation. With a device
    they are as `run_sharded` compiles them there."""
    place = None if device is None else jax.sharding.SingleDeviceSharding(device)

    def there(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, feed, run_keys))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    of_state, of_feed, of_keys = shapes
    batch = jax.eval_shape(partial(_batch, batch_size=batch_size), of_feed, of_keys, number)
    arguments = there((of_state.params, batch, of_keys.dropout, number, number))
    static = {"config": state.config, "shards": shards}
    part = jax.eval_shape(partial(_shard, **static), *arguments)
    return [
        _batch.lower(of_feed, of_keys, number, batch_size=batch_size),
        _shard.lower(*arguments, **static),
        _update.lower(there(of_state), there([part] * shards)),
        _mark.lower(there(of_state), of_feed.evaluation),
    ]
