"""The decoder, the axes of its parameters, and one training step."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing import MIXED

from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.model.attention import causal_attention
from growjax.model.axes import is_spec
from growjax.model.decoder import activations, count_params, forward, init_params, param_shapes, param_specs
from growjax.model.layers import dropout, rope_tables, rotate
from growjax.streams import Streams, root_key
from growjax.train.state import StepKeys, init_state, train_step

pytestmark = pytest.mark.usefixtures("quickly")

SMALL = ModelConfig(d_model=16, n_heads=4, n_kv_heads=2, head_dim=4, d_ff=24, vocab_size=37, max_seq_len=12)
DIALECTS = [
    SMALL,
    SMALL.replace(tie_embeddings=False, qk_norm=True),
    SMALL.replace(dialect="layer"),
    SMALL.replace(dialect="layer", tie_embeddings=False, bias=False),
    *MIXED.values(),
]
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 37, (3, 12)), jnp.int32)


def streams(seed: int = 0) -> Streams:
    return Streams(root_key(seed))


@pytest.mark.parametrize("config", DIALECTS, ids=str)
def test_every_parameter_names_its_axes(config: ModelConfig):
    specs = jax.tree.leaves(param_specs(config), is_leaf=is_spec)
    shapes = jax.tree.leaves(param_shapes(config))
    for spec, shape in zip(specs, shapes, strict=True):
        assert len(spec.dims) == len(shape.shape)
    params = init_params(config, key=streams().at("init", 0))
    chex.assert_trees_all_equal_shapes_and_dtypes(params, param_shapes(config))
    assert count_params(config) == sum(p.size for p in jax.tree.leaves(params))


@pytest.mark.parametrize("config", DIALECTS, ids=str)
def test_no_position_sees_what_comes_after(config: ModelConfig):
    params = init_params(config, key=streams().at("init", 0))
    logits = forward(config, params, TOKENS)
    changed = forward(config, params, TOKENS.at[:, 7:].set(1))
    assert np.array_equal(logits[:, :7], changed[:, :7])
    assert not np.array_equal(logits[:, 7:], changed[:, 7:])
    assert logits.shape == (3, 12, 37) and logits.dtype == jnp.float32


def test_bfloat16_computes_in_bfloat16_and_gives_float32_logits():
    config = SMALL.replace(dtype="bfloat16")
    params = init_params(config, key=streams().at("init", 0))
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert forward(config, params, TOKENS).dtype == jnp.float32
    assert {a.dtype for a in activations(config, params, TOKENS).values()} == {jnp.dtype("bfloat16")}


def test_a_float32_step_computes_nothing_in_float64():
    state = init_state(TrainConfig(model=SMALL), key=streams().at("init", 0))
    program = jax.make_jaxpr(train_step)(state, (TOKENS, TOKENS), keys=StepKeys(streams().at("dropout", 0)))
    assert "f64[" not in str(program).replace("f64[]", "")


def test_attention_by_the_definition():
    rng = np.random.default_rng(1)
    q, k, v = rng.normal(size=(1, 5, 2, 3, 4)), rng.normal(size=(1, 5, 2, 4)), rng.normal(size=(1, 5, 2, 4))
    expected = np.zeros_like(q)
    for t in range(5):
        for g in range(2):
            for r in range(3):
                weights = np.exp([q[0, t, g, r] @ k[0, s, g] / 2 for s in range(t + 1)])
                expected[0, t, g, r] = (weights / weights.sum()) @ v[0, : t + 1, g]
    got = causal_attention(*(jnp.asarray(x) for x in (q, k, v)))
    assert np.abs(np.asarray(got) - expected).max() < 1e-14  # float64: another order of the same sums


def test_rotary_scores_depend_on_distance_alone():
    cos, sin = rope_tables(20, 8, 4, np.array([1.0, 0.01]), jnp.dtype("float64"))
    q, k = (jnp.asarray(np.random.default_rng(i).normal(size=(1, 1, 1, 8))) for i in (0, 1))
    turned_q = rotate(jnp.broadcast_to(q, (1, 20, 1, 8)), cos, sin, 4)
    turned_k = rotate(jnp.broadcast_to(k, (1, 20, 1, 8)), cos, sin, 4)
    scores = jnp.einsum("btgk,bsgk->ts", turned_q, turned_k)
    assert np.abs(np.diag(scores, 3) - scores[0, 3]).max() < 1e-13  # float64 rounding of cos and sin
    assert abs(scores[0, 3] - scores[0, 4]) > 1e-3


def test_dropout_keeps_the_stated_share_and_scales_by_it():
    x = jnp.ones((400, 500))
    y = np.asarray(dropout(x, 0.25, key=streams().at("dropout", 0)))
    assert set(np.unique(y)) == {0.0, np.unique(y)[-1]} and np.unique(y)[-1] == 65536 / (65536 - 16384)
    assert abs((y == 0).mean() - 0.25) < 5 * (0.25 * 0.75 / x.size) ** 0.5  # five standard deviations


def test_streams_do_not_move_each_other():
    one, other = streams(3), streams(3)
    assert jnp.array_equal(jax.random.key_data(one.at("order", 5)), jax.random.key_data(other.at("order", 5)))
    words = {
        tuple(np.asarray(jax.random.key_data(one.at(n, s)))) for n in ("init", "order", "dropout") for s in range(9)
    }
    assert len(words) == 27
    with pytest.raises(UserError, match="no stream"):
        one.at("crossed", 0)
    with pytest.raises(UserError, match="typed key"):
        Streams(jnp.zeros(2, jnp.uint32))


@pytest.mark.parametrize(
    "fields",
    [{"n_heads": 3}, {"d_model": 0}, {"dropout": 1.0}, {"head_dim": 3, "rope_dim": 3}, {"head_dim": 6, "rope_dim": 4}],
)
def test_impossible_models_are_refused(fields: dict):
    with pytest.raises(UserError):
        SMALL.replace(**fields)


def test_configurations_round_trip():
    config = TrainConfig(model=SMALL, optim=OptimConfig(learning_rate=1e-3))
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert TrainConfig.from_dict(config.to_dict()).digest() == config.digest()
    assert config.digest() != config.replace(model=SMALL.replace(d_ff=25)).digest()
    with pytest.raises(UserError, match="no field"):
        TrainConfig.from_dict({"colour": 1})
