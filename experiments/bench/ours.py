"""growjax as a worker of the bench: the compiled loop of a study, evaluations and digests included."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from growjax import runtime

runtime.pin()
runtime.start()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from experiments.bench.setting import Peer, Size, config, serve, shared, windows  # noqa: E402
from growjax.data.batches import window_ids  # noqa: E402
from growjax.digests import named_leaves  # noqa: E402
from growjax.schema import Record  # noqa: E402
from growjax.streams import Streams, root_key  # noqa: E402
from growjax.train import shards as sharded  # noqa: E402
from growjax.train.loop import Feed, RunKeys, copy_state, run, run_keys, traced_run  # noqa: E402
from growjax.train.optim import schedule  # noqa: E402
from growjax.train.programs import Programs  # noqa: E402
from growjax.train.state import TrainState, init_state  # noqa: E402

CHECKED = 5
"""Steps whose losses are compared."""


def write_shared(path: str, state: TrainState, size: Size) -> None:
    """First parameters by path, rows of the checked batches, and their learning rates."""
    rows = np.stack([np.asarray(window_ids(i, size.batch, len(windows(size)), order=0)) for i in range(CHECKED)])
    rates = np.asarray([float(schedule(state.config.optim)(i)) for i in range(2000)])  # pyright: ignore[reportArgumentType]
    leaves = {name: np.asarray(leaf) for name, leaf in named_leaves(state.params)}
    np.savez(path, rows=rows, rates=rates, **leaves)  # pyright: ignore[reportArgumentType]


def paper_bytes(state: TrainState, size: Size) -> dict[str, int]:
    """State, gradients, and what a step must save for its derivatives, counted on paper.

    By token and layer, in float32: the inputs of both norms (2 D) and their results, which the products need (2 D);
    queries, keys and values (3 D); attention's result, row by row and turned (2 D), with a number for each head (H);
    gate, up and hidden units (9 D); two masks of a byte for each entry (D / 2). Then embedding and final norm (2 D),
    the derivative of the loss (1 D) and the embedding's mask (D / 4).
    """
    params = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    layer = 18 * size.width + size.width // size.head + size.width // 2
    saved = 4 * size.tokens * (size.layers * layer + 3 * size.width + size.width // 4)
    return {
        "state": sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
        "gradients": params,
        "saved activations": saved,
    }


def peer(size: Size, path: str, write: bool, shards: int) -> Peer:
    """Compiles on first use; every question starts from the same state."""
    state = init_state(config(size), key=Streams(root_key(0)).at("init", 0))
    if write:
        write_shared(path, state, size)
    else:
        first = shared(path)
        named = {name: first[name] for name, _ in named_leaves(state.params)}
        assert all(np.array_equal(named[name], np.asarray(leaf)) for name, leaf in named_leaves(state.params))
    train = jnp.asarray(windows(size))
    held_out = jnp.asarray(windows(size, 8 * size.batch, seed=1).reshape(8, size.batch, -1))
    tiny = Feed(train, held_out[:1, :1])
    live, programs = run_keys(Streams(root_key(1, "study")), ("order", "dropout")), Programs()
    sizes: Record = {"max_steps": 128, "max_evals": 17}

    def steps(count: int) -> None:
        if shards > 1:
            grid: Any = {"segments": 1, "segment_steps": count}
            sharded.run_sharded(copy_state(state), tiny, live, batch_size=size.batch, shards=shards, **grid)
        else:
            grid = {"segments": 1, "segment_steps": count, **sizes}
            run(copy_state(state), tiny, live, batch_size=size.batch, programs=programs, **grid)

    def losses() -> list[float]:
        fixed = RunKeys(None, None, jnp.asarray(0, jnp.int32))
        done = run(
            copy_state(state), tiny, fixed, batch_size=size.batch, segments=1, segment_steps=CHECKED, programs=programs
        )
        return [float(x) for x in done.trace.loss]

    def continuation(count: int, every: int) -> None:
        feed, grid = Feed(train, held_out), {"segments": count // every, "segment_steps": every, **sizes}
        run(copy_state(state), feed, live, batch_size=size.batch, programs=programs, **grid)

    def pool(candidates: int, count: int, every: int, worker: int, workers: int) -> None:
        """This worker's part of all candidates in both regimes; the states are at hand, as widening leaves them."""
        both = (
            RunKeys(None, None, jnp.asarray(0, jnp.int32)),
            run_keys(Streams(root_key(1, "study")), ("order", "dropout")),
        )
        tasks = [(c, live) for c in range(candidates) for live in both]
        grid = {"segments": count // every, "segment_steps": every, **sizes}
        for _, one in tasks[worker::workers]:
            run(copy_state(state), Feed(train, held_out), one, batch_size=size.batch, programs=programs, **grid)

    def memory() -> dict[str, int]:
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
        function = traced_run(batch_size=size.batch, **sizes)
        numbers = (jnp.zeros((), jnp.int32),) * 3
        found: Any = jax.jit(function, donate_argnums=0).lower(shapes, tiny, live, *numbers).compile().memory_analysis()
        used = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
        return {"program": used - found.alias_size_in_bytes - train.nbytes, **paper_bytes(state, size)}

    more: Record = {"continuation": continuation, "pool": pool, "rate": ceilings, "memory": memory}
    if shards > 1:
        more["parts"] = lambda: parts_of_sharded(state, tiny, live, size, shards)
    return Peer(steps, losses, more)


def parts_of_sharded(state: TrainState, feed: Feed, live: RunKeys, size: Size, shards: int) -> dict[str, float]:
    """Median seconds of what a step over virtual shards is made of, each by itself, computed on the first device."""
    here, there = jax.devices()[:2]
    zero = jnp.asarray(0, jnp.int32)

    def batch() -> object:
        return sharded._batch(feed, live, zero, batch_size=size.batch)

    def shard() -> object:
        return sharded._shard(state.params, taken, live.dropout, zero, zero, config=state.config, shards=shards)

    taken = batch()
    one = shard()
    far = jax.device_put(one, there)
    return {
        "batch": _median(batch),
        "parameters to the second device": _median(lambda: jax.device_put((state.params, taken), there)),
        "one shard": _median(shard),
        "gradients from the second device": _median(lambda: jax.device_put(far, here)),
        "sum, update and digests, one device at work": _median(
            lambda own: sharded._update(own, [one] * shards), lambda: (copy_state(state),)
        ),
    }


def _median(work: Callable[..., object], given: Callable[[], tuple] = tuple) -> float:
    """Seconds of `work` on what `given` makes anew each time, outside the time taken."""
    seconds = []
    for _ in range(9):
        arguments = jax.block_until_ready(given())
        began = time.perf_counter()
        jax.block_until_ready(work(*arguments))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def ceilings() -> dict[str, float]:
    """This machine's own: GFLOP/s of a float32 product of growjax, the best of three sizes, and GB/s of a copy."""
    product = jax.jit(jnp.matmul)
    best = 0.0
    for m, k, n in ((2048, 256, 768), (1024, 1024, 1024), (2048, 128, 384)):
        a, b = jnp.ones((m, k), jnp.float32), jnp.ones((k, n), jnp.float32)
        jax.block_until_ready(product(a, b))
        began, times = time.perf_counter(), 0
        while time.perf_counter() - began < 0.5:
            jax.block_until_ready([product(a, b) for _ in range(8)])
            times += 8
        best = max(best, 2.0 * m * k * n * times / (time.perf_counter() - began) / 1e9)
    source, target = np.ones(1 << 26, np.float32), np.zeros(1 << 26, np.float32)
    np.copyto(target, source)  # the first copy pays for fresh memory
    began = time.perf_counter()
    for _ in range(4):
        np.copyto(target, source)
    return {"product GFLOP/s": best, "copy GB/s": 4 * 2 * source.nbytes / (time.perf_counter() - began) / 1e9}


if __name__ == "__main__":
    given = [int(x) for x in sys.argv[1].split(",")]
    serve(peer(Size(*given), sys.argv[2], sys.argv[3] == "write", int(sys.argv[4])))
