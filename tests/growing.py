"""Small models in the middle of a run, and the tokens they see: what the tests of growth share.

What is checked with these is mathematics, to a tolerance: see `quick_programs` in conftest.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.data.batches import batch_at, window_ids
from growjax.grow.operator import GrowthData
from growjax.grow.plan import WidthPlan, default_target, make_plan
from growjax.grow.widen import widen
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import forward, param_shapes, param_specs
from growjax.streams import Streams, at_step, root_key
from growjax.train.loop import Feed, RunKeys, run_keys
from growjax.train.state import StepKeys, TrainState, fresh_state, train_step

BASE = ModelConfig(d_model=16, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=4, d_ff=24, vocab_size=37, max_seq_len=12)
MODELS = {
    "rms tied": BASE,
    "rms untied": BASE.replace(tie_embeddings=False, qk_norm=True),
    "layer tied": BASE.replace(dialect="layer"),
    "layer untied": BASE.replace(dialect="layer", tie_embeddings=False),
}
MIXED = {
    "layer rotary geglu": BASE.replace(
        norm="layer", mlp="gated", activation="gelu", qkv_bias=True, qk_norm=True, tie_embeddings=False
    ),
    "rms learned gelu": BASE.replace(position="learned", mlp="plain", activation="gelu", mlp_bias=True),
    "rms without positions": BASE.replace(position="none", mlp="plain", attn_out_bias=True),
    "rms qkv biases": BASE.replace(qkv_bias=True),
    "layer parallel gelu_erf": BASE.replace(
        dialect="layer",
        position="rotary",
        rotary_dim=2,
        activation="gelu_erf",
        parallel=True,
        n_kv_heads=4,
        tie_embeddings=False,
    ),
    "layer relu": BASE.replace(dialect="layer", activation="relu"),
    "rms normed after": BASE.replace(norm_place="after", qk_norm=True, qk_norm_over="all", tie_embeddings=False),
    "rms windows and caps": BASE.replace(
        norm_place="both",
        embed_scale=4.0,
        query_pre_attn_scalar=3,
        attn_softcap=0.5,
        logit_softcap=2.0,
        layer_windows=(5,),
        local_rope_theta=50.0,
    ),
}
"""Parts put together otherwise than in a preset: with `MODELS` every part takes every value it has."""

GROWTHS = {
    "doubled": {"d_model": 32, "n_heads": 8, "n_kv_heads": 4, "d_ff": 48},
    "uneven": {"d_model": 20, "n_heads": 6, "n_kv_heads": 3, "head_dim": 8, "d_ff": 31},
    "within groups": {"head_dim": 8, "d_model": 18, "n_heads": 8},
}
OPTIM = OptimConfig(learning_rate=3e-3, warmup_steps=2, total_steps=100, clip_norm=0.1, eps=1e-3)
RNG = np.random.default_rng(0)
FEED = Feed(
    jnp.asarray(RNG.integers(0, 37, (64, 13)), jnp.uint16), jnp.asarray(RNG.integers(0, 37, (2, 4, 13)), jnp.uint16)
)
DATA = GrowthData(FEED.train, 4)
DETERMINISTIC = run_keys(Streams(root_key(0)), ())
STOCHASTIC = run_keys(Streams(root_key(0)), ("order", "dropout"))
KEY = root_key(1, "study")


@jax.jit
def on(state: TrainState, steps: int, live: RunKeys) -> TrainState:
    """The state some steps later, as `advance` would have it, with nothing evaluated or written down on the way."""

    def step(i: jax.Array, state: TrainState) -> TrainState:
        order, dropout = (key if key is None else at_step(key, i) for key in (live.order, live.dropout))
        ids = window_ids(i, 4, FEED.train.shape[0], key=order, order=live.fixed_order)
        return train_step(state, batch_at(FEED.train, ids), keys=StepKeys(dropout))[0]

    return jax.lax.fori_loop(0, steps, step, state)


_forward = jax.jit(forward, static_argnums=0)


def filled(config: TrainConfig, seed: int = 0) -> TrainState:
    """A state at step 0 whose every parameter, gains and biases too, is a number of its own (drawn by NumPy, which
    compiles nothing)."""
    rng = np.random.default_rng(seed)
    specs, shapes = param_specs(config.model), param_shapes(config.model)

    def draw(spec: ParamSpec, shape: jax.ShapeDtypeStruct) -> jax.Array:
        values = (spec.init == "ones") + rng.normal(size=shape.shape) * 0.05
        return jnp.asarray(values.astype(shape.dtype))

    return fresh_state(config, map_specs(draw, specs, shapes))


def logit_gap(narrow: TrainState, wide: TrainState, tokens: jax.Array | np.ndarray) -> float:
    """Largest difference between the logits of two states."""
    a, b = (_forward(state.config.model, state.params, tokens) for state in (narrow, wide))
    return float(np.max(np.abs(np.asarray(a) - np.asarray(b))))


def under_way(model: ModelConfig, steps: int = 8, optim: OptimConfig = OPTIM) -> TrainState:
    """A state as after some steps, moments of the size of gradients included (drawn by NumPy too)."""
    state, rng = filled(TrainConfig(model=model, optim=optim)), np.random.default_rng(1)
    mu = jax.tree.map(lambda p: jnp.asarray(1e-3 * rng.normal(size=p.shape), p.dtype), state.params)
    nu = jax.tree.map(lambda p: jnp.asarray(1e-6 * rng.uniform(0.5, 2.0, p.shape), p.dtype), state.params)
    count = jax.tree.map(lambda c: jnp.full_like(c, steps), state.opt_state.count)
    moved = state.opt_state._replace(mu=mu, nu=nu, count=count, schedule_step=jnp.asarray(steps, jnp.int32))
    return state.replace(opt_state=moved, step=jnp.asarray(steps, jnp.int32))


def doubled(state: TrainState):
    """The plan to twice the width."""
    return make_plan(state.config.model, default_target(state.config.model))


@partial(jax.jit, static_argnames="steps")
def _path(state: TrainState, windows: jax.Array, *, steps: int) -> tuple[TrainState, TrainState]:
    def step(state: TrainState, i: jax.Array) -> tuple[TrainState, TrainState]:
        batch = windows[i % windows.shape[0]].astype(jnp.int32)
        return train_step(state, (batch[:, :-1], batch[:, 1:]))[0], state

    return jax.lax.scan(step, state, jnp.arange(steps))


def path(state: TrainState, windows: np.ndarray, *, steps: int) -> TrainState:
    """All states on the way, those after 0, 1, ... `steps` steps, stacked, on the host; windows [N, B, T + 1], taken in
    turn."""
    last, before = jax.device_get(_path(state, windows, steps=steps))
    return jax.tree.map(lambda many, one: np.concatenate([many, one[None]]), before, last)


def at(states: TrainState, n: int) -> TrainState:
    """One of the states on the way."""
    return jax.tree.map(lambda x: x[n], states)


def furthest(a: Any, b: Any) -> float:
    """The largest difference between two trees over the first one's largest value."""
    a, b = jax.device_get((a, b))
    chex.assert_trees_all_equal_shapes_and_dtypes(a, b)
    gaps = jax.tree.map(lambda x, y: float(np.max(np.abs(x - y))), a, b)
    size = max(float(np.max(np.abs(x))) for x in jax.tree.leaves(a))
    return max(jax.tree.leaves(gaps)) / (size or 1.0)


def furthest_state(a: TrainState, b: TrainState) -> float:
    """The same of weights, first and second moments, each over its own; counts and steps must be equal."""
    chex.assert_trees_all_equal((a.opt_state.count, a.step), (b.opt_state.count, b.step))
    pairs = ((a.params, b.params), (a.opt_state.mu, b.opt_state.mu), (a.opt_state.nu, b.opt_state.nu))
    return max(furthest(x, y) for x, y in pairs)


def lockstep_gap(narrow: TrainState, plan: WidthPlan, windows: np.ndarray, begin: int) -> tuple[float, TrainState]:
    """(gap, last wide state): `narrow` holds the states on a way, as `path` gives them. The wide run sets out from the
    one at `begin`; at every step after, its state is compared with the narrow one's, widened there.
    """
    rest = jax.tree.map(lambda x: x[begin:], narrow)
    steps = len(rest.step) - 1
    grown = jax.jit(jax.vmap(lambda s: widen(s, plan, operator="lockstep", key=KEY)))(rest)
    wide = path(at(grown, 0), np.roll(windows, -begin, axis=0), steps=steps)
    return furthest_state(grown, wide), at(wide, steps)
