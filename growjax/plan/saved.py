"""What a step keeps for its derivatives, and what it works in: of one virtual shard, on one device.

What is kept is asked of JAX itself: the shapes of what `jax.vjp` of the loss hands from the forward pass to the
backward one. Nothing is computed and nothing compiled, so that a model of any size can be asked. What a compiler needs
beside that is an estimate. So is what an evaluation works in.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from growjax.config import ModelConfig, TrainConfig
from growjax.model.attention import SCORES
from growjax.model.decoder import UNROLL, Params, param_shapes
from growjax.model.loss import CHUNK, CHUNK_ELSEWHERE
from growjax.streams import root_key
from growjax.train.state import loss_fn


class Saved(NamedTuple):
    """Bytes of one virtual shard's forward and backward pass, beside parameters, gradients and batch."""

    activations: int
    """Kept from the forward pass for the backward one."""
    temporaries: int
    """An estimate: what the compiler works in at the moment when most is held."""
    evaluation: int = 0
    """An estimate: what a held-out batch is evaluated in."""


WORKSPACE = 32 << 20
"""Bytes that a GPU's matrix library works in."""


def saved(config: TrainConfig, windows: int, length: int, *, cpu: bool) -> Saved:
    """Of a shard of so many windows of `length` tokens; `cpu`: as a CPU computes it, not as other platforms do."""
    model = config.model
    one, two = (_kept(config, n, length) for n in (1, 2))
    of_tokens, of_weights = windows * (two - one), 2 * one - two
    work = [loss_work(model, windows * length, cpu=cpu), layer_work(model, windows, length, cpu=cpu)]
    work += [] if cpu else [WORKSPACE]
    if model.n_layers <= UNROLL:  # weights in another form are made again where they are read
        scores = 0 if cpu else kept_scores(model, windows, length)
        return Saved(of_tokens, max(work) + scores)
    kept = of_tokens + of_weights
    again = kept * UNROLL // model.n_layers  # what a round of layers keeps is copied out of what all keep
    return Saved(kept, max(*work, again))


def kept_scores(model: ModelConfig, windows: int, length: int) -> int:
    """An estimate: attention's scores of all layers. Its derivative computes them again, but where forward and backward
    pass stand in one round a compiler for GPUs takes the first ones for both: a shared softmax, and one more array in
    float32, a quarter as much in bfloat16 (fitted to programs compiled for an H100)."""
    wide = max(4, _size(model))
    return windows * model.n_layers * model.n_heads * length**2 * (2 * wide if wide == _size(model) else 5)


@lru_cache(maxsize=64)
def _kept(config: TrainConfig, windows: int, length: int) -> int:
    """Bytes that the loss keeps for its derivative beside its arguments."""
    tokens = jax.ShapeDtypeStruct((windows, length), jnp.int32)
    key = root_key(0) if config.model.dropout > 0 else None

    def residuals(params: Params, inputs: jax.Array, targets: jax.Array) -> list[jax.Array]:
        return jax.tree.leaves(jax.vjp(lambda p: loss_fn(p, config, (inputs, targets), dropout_key=key), params)[1])

    traced = jax.make_jaxpr(residuals)(param_shapes(config.model), tokens, tokens).jaxpr
    arguments = {id(v) for v in (*traced.invars, *traced.constvars)}
    made: Any = {id(v): v.aval for v in traced.outvars if not hasattr(v, "val") and id(v) not in arguments}
    return sum(math.prod(aval.shape) * aval.dtype.itemsize for aval in made.values())


def loss_work(model: ModelConfig, tokens: int, *, cpu: bool) -> int:
    """An estimate: logits of a chunk, their exponentials and derivatives, and the head's gradient."""
    wide, size = max(4, _size(model)), _size(model)
    chunk = CHUNK if cpu else CHUNK_ELSEWHERE
    rows = min(tokens, max(128, chunk // model.vocab_size // 128 * 128))
    head = model.vocab_size * model.d_model
    logits = rows * model.vocab_size
    if cpu:
        return logits * 2 * wide + head * (size + wide)
    return logits * (wide + size) + head * wide


def layer_work(model: ModelConfig, windows: int, length: int, *, cpu: bool) -> int:
    """An estimate: scores, shares and their derivatives, and the gradients of an MLP's hidden units."""
    wide, size = max(4, _size(model)), _size(model)
    few = _at_a_time(model, windows, length) if cpu else windows
    shared = not cpu and model.n_layers <= UNROLL  # with `kept_scores`: derivatives alone
    scores = few * model.n_heads * length**2 * (2 * wide if shared else 4 * wide + size)
    hidden = windows * length * 3 * model.d_ff * size
    return max(scores, hidden)


def evaluation_work(model: ModelConfig, windows: int, length: int, *, cpu: bool) -> int:
    """An estimate: the logits of a held-out batch, of all its windows at once, and on a CPU the same in float64; or
    attention's scores and shares, or hidden units, where they are more. It was up to 17 % off five shapes compiled for
    an H100 and five for a CPU."""
    wide, size = max(4, _size(model)), _size(model)
    few = _at_a_time(model, windows, length) if cpu else windows
    logits = windows * length * model.vocab_size * (wide + 8 if cpu else size)
    scores = few * model.n_heads * length**2 * (wide + size)
    hidden = windows * length * model.d_ff * size
    return max(logits, scores, 2 * hidden) + hidden + (0 if cpu else WORKSPACE)


def _at_a_time(model: ModelConfig, windows: int, length: int) -> int:
    """Windows of which a CPU's attention computes scores at a time (`growjax.model.attention`)."""
    most = max(2, SCORES // (model.n_heads * length**2))
    return max(n for n in range(1, min(most, windows) + 1) if windows % n == 0)


def _size(model: ModelConfig) -> int:
    return jnp.dtype(model.dtype).itemsize
