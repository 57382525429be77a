"""Many steps in one compiled program: batches gathered on the device, evaluations included.

`run` is compiled once for a structure of state and a set of live streams. How many segments it runs and how long they
are is data, so a source's training, a probe and a continuation of one shape share one program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from growjax.data.batches import batch_at, window_ids
from growjax.digests import leaf_digests
from growjax.domains import COUNT, SIZE
from growjax.errors import require
from growjax.model.decoder import forward
from growjax.streams import Streams, at_step
from growjax.train.check import check_state
from growjax.train.programs import Programs, lower
from growjax.train.state import StepKeys, TrainState, token_losses, train_step
from growjax.values import shown, taken


class Feed(NamedTuple):
    """Tokens on the device, cut into windows."""

    train: jax.Array
    """uint16 or uint32 [N, T + 1]"""
    evaluation: jax.Array
    """Like it [E, B, T + 1], the same at every evaluation."""


LIVE = ("order", "dropout")
"""The streams that a training may draw from."""


class RunKeys(NamedTuple):
    """The keys of the streams that are live (None: not live), and the fixed order that serves without one."""

    order: jax.Array | None
    dropout: jax.Array | None
    fixed_order: jax.Array
    """int32: number of the fixed batch order, used where `order` is None."""


class Trace(NamedTuple):
    """What a run writes down; rows beyond what it ran hold zeros."""

    loss: jax.Array
    """float32 [steps]: training loss of each step, before its update."""
    grad_norm: jax.Array
    """float32 [steps]"""
    params_digest: jax.Array
    """uint32 [steps, leaves, 2]: `leaf_digests` of the parameters after each step."""
    eval_loss: jax.Array
    """float64 [evaluations]: held-out loss in nats per token, at the start and after each segment."""
    state_digest: jax.Array
    """uint32 [evaluations, leaves, 2]: `leaf_digests` of the whole state there."""


class Run(NamedTuple):
    """What `run` gives back."""

    state: TrainState
    trace: Trace
    """On the host, cut to what was run."""
    program: str
    """Fingerprint of the program: the digest of its lowered text."""
    module: str
    """Digest of the optimized module that it was compiled into (`growjax.train.programs.module_digest`)."""


def check_feed(feed: Feed) -> None:
    """Raises `UserError` where a feed's arrays are no windows of one length, or there are none of them."""
    train, evaluation = (jnp.shape(x) for x in feed)
    dtypes = [str(getattr(x, "dtype", type(x).__name__)) for x in feed]
    alike = dtypes[0] == dtypes[1] and dtypes[0] in ("uint16", "uint32")
    windows = len(train) == 2 and len(evaluation) == 3 and train[-1] == evaluation[-1] > 1
    require(
        alike and windows and all((*train, *evaluation)),
        f"a feed is {dtypes[0]} {list(train)} to train on and {dtypes[1]} {list(evaluation)} to evaluate",
        "give windows of one length, [N, T + 1] and [E, B, T + 1], both uint16 or both uint32",
    )


def run_keys(streams: Streams, live: Sequence[str], *, fixed_order: int = 0) -> RunKeys:
    """Keys for exactly the streams named in `live`, of `LIVE`. Raises `UserError` for a name that no training draws
    from."""
    fixed_order = taken(COUNT, fixed_order, "fixed_order")
    require(not isinstance(live, str), f"live is {live!r}", f"give a tuple, such as ({live!r},)")
    for name in live:
        require(name in LIVE, f"a training draws from no stream named {shown(name)}", f"choose among {', '.join(LIVE)}")
    keys = {name: streams.stream(name) for name in live}
    return RunKeys(keys.get("order"), keys.get("dropout"), jnp.asarray(fixed_order, jnp.int32))


def evaluate(state: TrainState, windows_EBT: jax.Array) -> jax.Array:
    """Mean held-out loss in nats per token: float64, from the logits in their own dtype."""

    def one(windows: jax.Array) -> jax.Array:
        inputs, targets = windows[:, :-1].astype(jnp.int32), windows[:, 1:].astype(jnp.int32)
        logits = forward(state.config.model, state.params, inputs)
        return jnp.mean(token_losses(logits.astype(jnp.float64), targets))

    return jnp.mean(jax.lax.map(one, windows_EBT))


@partial(jax.jit, static_argnames=("batch_size", "max_steps", "max_evals"), donate_argnames=("state",))
def _run(
    state: TrainState,
    feed: Feed,
    run_keys: RunKeys,
    start: jax.Array,
    segments: jax.Array,
    segment_steps: jax.Array,
    *,
    batch_size: int,
    max_steps: int,
    max_evals: int,
) -> tuple[TrainState, Trace]:
    check_feed(feed)

    def step(i: jax.Array, carry: tuple[TrainState, Trace]) -> tuple[TrainState, Trace]:
        state, trace = carry
        lag = start + i
        order_key = None if run_keys.order is None else at_step(run_keys.order, lag)
        dropout_key = None if run_keys.dropout is None else at_step(run_keys.dropout, lag)
        ids = window_ids(lag, batch_size, feed.train.shape[0], key=order_key, order=run_keys.fixed_order)
        state, metrics = train_step(state, batch_at(feed.train, ids), keys=StepKeys(dropout_key))
        return state, trace._replace(
            loss=trace.loss.at[i].set(metrics["loss"].astype(jnp.float32)),
            grad_norm=trace.grad_norm.at[i].set(metrics["grad_norm"].astype(jnp.float32)),
            params_digest=trace.params_digest.at[i].set(leaf_digests(state.params)),
        )

    def mark(j: jax.Array | int, carry: tuple[TrainState, Trace]) -> tuple[TrainState, Trace]:
        state, trace = carry
        return state, trace._replace(
            eval_loss=trace.eval_loss.at[j].set(evaluate(state, feed.evaluation)),
            state_digest=trace.state_digest.at[j].set(leaf_digests(state)),
        )

    def segment(j: jax.Array, carry: tuple[TrainState, Trace]) -> tuple[TrainState, Trace]:
        # The evaluation stands in one place of the program, so that the one at the start has the same bits as the
        # others: segment 0 has no steps.
        first = jnp.maximum(j - 1, 0) * segment_steps
        carry = jax.lax.fori_loop(first, j * segment_steps, step, carry)
        return mark(j, carry)

    trace = Trace(
        loss=jnp.zeros(max_steps, jnp.float32),
        grad_norm=jnp.zeros(max_steps, jnp.float32),
        params_digest=jnp.zeros((max_steps, len(jax.tree.leaves(state.params)), 2), jnp.uint32),
        eval_loss=jnp.zeros(max_evals, jnp.float64),
        state_digest=jnp.zeros((max_evals, len(jax.tree.leaves(state)), 2), jnp.uint32),
    )
    return jax.lax.fori_loop(0, segments + 1, segment, (state, trace))


def run(
    state: TrainState,
    feed: Feed,
    run_keys: RunKeys,
    *,
    batch_size: int,
    segments: int,
    segment_steps: int,
    start: int = 0,
    max_steps: int | None = None,
    max_evals: int | None = None,
    programs: Programs | None = None,
) -> Run:
    """`segments` times `segment_steps` training steps, with an evaluation first and after each segment.

    `start` is the number of the first step in the streams and in the batch order. `max_steps` and `max_evals` size
    the trace (and are part of the program: give the same to share it). The state handed in is used up. `programs`
    keeps what was compiled for the next run of the same shapes; without it every call compiles anew. Raises `UserError`
    for a number that is none, or a state whose arrays are not those of its configuration.
    """
    check_state(state)
    counts = {"start": start, "segments": segments, "segment_steps": segment_steps}
    start, segments, segment_steps = (taken(COUNT, number, name) for name, number in counts.items())
    batch_size = taken(SIZE, batch_size, "batch_size")
    steps, evals = segments * segment_steps, segments + 1
    numbers = (jnp.asarray(n, jnp.int32) for n in (start, segments, segment_steps))
    arrays, sizes = (
        (state, feed, run_keys, *numbers),
        _sizes(batch_size, max(max_steps or 0, steps), max(max_evals or 0, evals)),
    )
    program = (programs or Programs()).get("run", _run, arrays, sizes)
    new_state, trace = program.call(*arrays)
    host: Any = jax.device_get(trace)
    cut = [evals if name in ("eval_loss", "state_digest") else steps for name in Trace._fields]
    cut_trace = Trace(*(np.asarray(x)[:n] for x, n in zip(host, cut, strict=True)))  # pyright: ignore[reportArgumentType]
    return Run(new_state, cut_trace, program.fingerprint, program.module)


def _sizes(batch_size: int, max_steps: int, max_evals: int) -> dict[str, int]:
    return {"batch_size": batch_size, "max_steps": max_steps, "max_evals": max_evals}


def compile_run(
    state: TrainState,
    feed: Feed,
    run_keys: RunKeys,
    *,
    batch_size: int,
    max_steps: int,
    max_evals: int,
    programs: Programs,
) -> None:
    """Compiles `run`'s program for a state of these shapes (arrays or `ShapeDtypeStruct`), and runs nothing."""
    numbers = (jnp.asarray(0, jnp.int32),) * 3
    programs.get("run", _run, (state, feed, run_keys, *numbers), _sizes(batch_size, max_steps, max_evals))


def traced_run(*, batch_size: int, max_steps: int, max_evals: int) -> Callable[..., tuple[TrainState, Trace]]:
    """The function whose program `run` compiles, of (state, feed, run_keys, start, segments, segment_steps): for a walk
    over what it draws."""
    return partial(_run, **_sizes(batch_size, max_steps, max_evals))


def run_fingerprint(arrays: tuple, *, batch_size: int, max_steps: int, max_evals: int) -> str:
    """Fingerprint of the program that `run` would compile for these arguments; compiles nothing."""
    return lower(_run, arrays, _sizes(batch_size, max_steps, max_evals))[1]


def advance(
    state: TrainState,
    n: int,
    *,
    feed: Feed,
    run_keys: RunKeys,
    batch_size: int,
    start: int = 0,
    programs: Programs | None = None,
) -> TrainState:
    """The state `n` steps on, in one compiled program; the one handed in stays as it is."""
    return run(
        copy_state(state),
        feed,
        run_keys,
        batch_size=batch_size,
        segments=1,
        segment_steps=n,
        start=start,
        max_steps=128,
        programs=programs,
    ).state


def copy_state(state: TrainState) -> TrainState:
    """Arrays of its own, for a run that uses its state up."""
    return jax.tree.map(jnp.copy, state)
