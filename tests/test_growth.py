"""Plans, the law, and what every operator promises."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growjax.grow.blocks import orthogonal

from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.grow.law import law_tree
from growjax.grow.copying import new_entries
from growjax.grow.plan import default_target, make_plan
from growjax.grow.registry import operators, parse_operator
from growjax.grow.widen import widen
from growjax.measure import clones_identical, compare, tree_escape
from growjax.model.axes import map_specs
from growjax.model.decoder import forward, param_specs
from growjax.streams import Streams, root_key
from growjax.train.loop import Feed, Luck, advance, luck
from growjax.train.programs import Programs
from growjax.train.state import StepKeys, TrainState, init_state, loss_fn, train_step

BASE = ModelConfig(d_model=16, n_heads=4, n_kv_heads=2, head_dim=4, d_ff=24, vocab_size=37, max_seq_len=12)
MODELS = {
    "rms tied": BASE,
    "rms untied": BASE.replace(tie_embeddings=False, qk_norm=True),
    "layer tied": BASE.replace(dialect="layer"),
    "layer untied": BASE.replace(dialect="layer", tie_embeddings=False),
}
OPTIM = OptimConfig(learning_rate=3e-3, warmup_steps=2, total_steps=100, clip_norm=0.1, eps=1e-3)
RNG = np.random.default_rng(0)
FEED = Feed(
    jnp.asarray(RNG.integers(0, 37, (64, 13)), jnp.uint16), jnp.asarray(RNG.integers(0, 37, (2, 4, 13)), jnp.uint16)
)
DETERMINISTIC = luck(Streams(root_key(0)), ())
STOCHASTIC = luck(Streams(root_key(0)), ("order", "dropout"))


PROGRAMS = Programs()


def on(state: TrainState, steps: int, live: Luck) -> TrainState:
    """The state some steps later."""
    return advance(state, steps, feed=FEED, luck=live, batch_size=4, programs=PROGRAMS)


def trained(model: ModelConfig, steps: int = 8) -> TrainState:
    state = init_state(TrainConfig(model=model, optim=OPTIM), key=Streams(root_key(0)).at("init", 0))
    return on(state, steps, STOCHASTIC)


@pytest.fixture(scope="module", params=MODELS, ids=str)
def source(request: pytest.FixtureRequest) -> TrainState:
    return trained(MODELS[request.param])


def doubled(state: TrainState):
    return make_plan(state.config.model, default_target(state.config.model))


@pytest.mark.parametrize("operator", ["exact_copy", "perturbed", "asymmetric_reset", "structured", "lockstep"])
def test_function_is_kept(source: TrainState, operator: str):
    plan = doubled(source)
    wide = widen(source, plan, operator=operator, key=root_key(1, "study"))
    told = compare((source.config.model, source.params), (plan.target, wide.params), FEED.evaluation)
    assert abs(told["kl"]) < 1e-9  # nats per token; only float32 rounding is left
    if operator == "exact_copy":
        assert tree_escape(wide.params, plan) == 0.0
        assert clones_identical(wide.params, plan)


def test_scratch_keeps_nothing(source: TrainState):
    plan = doubled(source)
    wide = widen(source, plan, operator="scratch", key=root_key(1, "study"))
    told = compare((source.config.model, source.params), (plan.target, wide.params), FEED.evaluation)
    assert told["kl"] > 1e-6 and int(wide.step) == 0 and int(wide.opt_state.schedule_step) == 0


GROWTHS = {
    "doubled": {"d_model": 32, "n_heads": 8, "n_kv_heads": 4, "d_ff": 48},
    "uneven": {"d_model": 20, "n_heads": 6, "n_kv_heads": 3, "d_ff": 31},
    "longer heads": {"head_dim": 8, "d_model": 18, "n_heads": 8},
}


@pytest.mark.parametrize("growth", GROWTHS, ids=str)
@pytest.mark.parametrize("name", ["rms tied", "rms untied"])
def test_lockstep_is_the_narrow_run(name: str, growth: str):
    """The law in float64: 20 steps of AdamW with decay, clipping and a large epsilon active."""
    source = trained(MODELS[name].replace(dtype="float64"))
    plan = make_plan(source.config.model, source.config.model.replace(**GROWTHS[growth]))
    wide = widen(source, plan, operator="lockstep", key=root_key(1, "study"))
    narrow_on = on(source, 20, DETERMINISTIC)
    wide_on = on(wide, 20, DETERMINISTIC)
    tokens = FEED.evaluation[0].astype(jnp.int32)[:, :-1]
    a = forward(source.config.model, narrow_on.params, tokens)
    b = forward(plan.target, wide_on.params, tokens)
    assert float(jnp.max(jnp.abs(a - b))) < 1e-12  # float64 rounding over 20 steps
    grown = widen(narrow_on, plan, operator="lockstep", key=root_key(1, "study"))
    gaps = jax.tree.map(lambda x, y: float(jnp.max(jnp.abs(x - y))), grown.params, wide_on.params)
    assert max(jax.tree.leaves(gaps)) < 1e-12  # widening commutes with training, to the same rounding


def test_the_table_of_the_law():
    """growth_law's table for whole multiples k, read off the parameters by name."""
    k = 3
    model = MODELS["layer untied"]
    plan = make_plan(model, default_target(model, k))
    laws = law_tree(plan)
    block, one = laws["blocks"], np.ones(1)

    def is_(law, s, r):
        # One division in float64: 1/k may be an ulp away from the law's own product.
        assert np.allclose(law.s, s * one, rtol=1e-15) and np.allclose(
            law.r, r * one, rtol=1e-15
        )  # divisions in float64
        assert np.array_equal(law.w, law.s / law.r)

    for name in ("wq", "wk", "wv", "wo", "w_up", "w_down"):
        is_(block[name], 1 / k, 1 / k)
    for name in ("bq", "b_up", "bo", "attn_norm_gain", "attn_norm_bias"):
        is_(block[name], 1, 1 / k)
    is_(laws["embedding"], 1, 1 / k)
    is_(laws["positions"], 1, 1 / k)
    is_(laws["head"], 1 / k, 1)
    tied = law_tree(make_plan(MODELS["rms tied"], default_target(MODELS["rms tied"], k)))
    is_(tied["embedding"], 1, 1 / k)
    is_(tied["final_norm_gain"], 1 / k, 1)


def test_single_kv_head_and_shared_gain():
    model = MODELS["rms untied"].replace(n_kv_heads=1)
    law = law_tree(make_plan(model, model.replace(d_model=32, n_heads=8)))["blocks"]
    assert law["wk"].s.item() == 0.5 and law["wk"].r.item() == 1.0
    assert law["q_gain"].s.item() == law["q_gain"].r.item() == 1.0


@pytest.mark.parametrize("name", MODELS, ids=str)
def test_clones_stay_identical_without_dropout_and_part_with_it(name: str):
    source = trained(MODELS[name])
    plan = doubled(source)
    wide = widen(source, plan, operator="exact_copy", key=root_key(1, "study"))
    still = on(wide, 128, DETERMINISTIC)
    apart = on(wide, 128, STOCHASTIC)
    assert clones_identical(still.params, plan) and tree_escape(still.params, plan) == 0.0
    assert not clones_identical(apart.params, plan) and tree_escape(apart.params, plan) > 0


def test_a_step_without_keys_draws_nothing(source: TrainState):
    batch = (jnp.zeros((2, 12), jnp.int32), jnp.ones((2, 12), jnp.int32))
    assert source.config.model.dropout > 0
    without = str(jax.make_jaxpr(lambda s: train_step(s, batch))(source))
    with_keys = str(jax.make_jaxpr(lambda s, k: train_step(s, batch, keys=StepKeys(k)))(source, root_key(0)))
    assert "random_bits" not in without and "threefry" not in without
    assert "random_bits" in with_keys


def test_asymmetric_reset_starts_new_entries_anew():
    source = trained(MODELS["rms tied"])
    plan = doubled(source)
    wide = widen(source, plan, operator="asymmetric_reset", key=root_key(1, "study"))
    clone = widen(source, plan, operator="exact_copy", key=root_key(1, "study"))
    mu, count = wide.opt_state.mu["blocks"]["w_up"], wide.opt_state.count["blocks"]["w_up"]
    old = (slice(None), slice(0, 16), slice(0, 24))
    assert np.array_equal(mu[old], clone.opt_state.mu["blocks"]["w_up"][old]) and np.all(count[old] == 8)
    assert np.count_nonzero(mu) == np.count_nonzero(mu[old]) and np.mean(np.asarray(count) == 0) == 0.75
    assert int(wide.opt_state.schedule_step) == 8


def test_cancelling_noise_cancels_and_other_noise_does_not():
    source = trained(MODELS["rms untied"])
    plan = doubled(source)

    def kl(operator: str) -> float:
        wide = widen(source, plan, operator=operator, key=root_key(1, "study"))
        assert tree_escape(wide.params, plan) > 0.01
        return compare((source.config.model, source.params), (plan.target, wide.params), FEED.evaluation)["kl"]

    assert abs(kl("perturbed:sigma=0.3")) < 1e-9 < kl("perturbed:sigma=0.3,cancel=none")


@pytest.mark.parametrize("name", ["rms tied", "rms untied"])
@pytest.mark.parametrize("growth", ["doubled", "uneven", "longer heads"])
def test_moments_follow_the_gradients(name: str, growth: str):
    """Fed with the narrow model's gradients, the law's moments are the wide model's gradients: in every entry for
    clones; for the structured start in old entries (new ones have no direction yet), but for what writes the residual
    stream, whose norms then see mixtures too."""
    source = trained(MODELS[name].replace(dtype="float64"), steps=3)
    plan = make_plan(source.config.model, source.config.model.replace(**GROWTHS[growth]))
    windows = FEED.evaluation[0].astype(jnp.int32)
    gradient = jax.jit(jax.grad(partial(loss_fn, dropout_key=None)), static_argnums=1)
    narrow = gradient(source.params, source.config, (windows[:, :-1], windows[:, 1:]))
    fed = source.replace(opt_state=source.opt_state._replace(mu=narrow))
    for operator in ("exact_copy", "structured"):
        wide = widen(fed, plan, operator=operator, key=root_key(1, "study"))
        own = gradient(wide.params, wide.config, (windows[:, :-1], windows[:, 1:]))

        def gap(spec, mu, g, operator=operator):
            left_out = False
            if operator == "structured":
                left_out = new_entries(spec, plan) | any(d.axis == "embed" and d.role == "writes" for d in spec.dims)
            return float(jnp.max(jnp.where(left_out, 0.0, jnp.abs(mu - g))))

        gaps = map_specs(gap, param_specs(source.config.model), wide.opt_state.mu, own)
        assert max(jax.tree.leaves(gaps)) < 1e-14  # gradients of about 1e-2, float64 rounding


def test_orthogonal_mixtures():
    for keep in (False, True):
        q = orthogonal(9, key=root_key(0), keep_mean=keep)
        assert np.abs(q @ q.T - np.eye(9)).max() < 1e-13  # float64 rounding of a QR factorisation
    assert np.abs(q @ np.ones(9) - 1).max() < 1e-13


def test_growing_twice_composes_the_law():
    source = trained(MODELS["rms tied"].replace(dtype="float64"))
    once = make_plan(source.config.model, source.config.model.replace(d_model=20, d_ff=30))
    middle = widen(source, once, operator="lockstep", key=root_key(1, "study"))
    twice = make_plan(once.target, once.target.replace(d_model=40, d_ff=35))
    wide = widen(middle, twice, operator="lockstep", key=root_key(1, "study"))
    a = on(source, 10, DETERMINISTIC)
    b = on(wide, 10, DETERMINISTIC)
    tokens = FEED.evaluation[0].astype(jnp.int32)[:, :-1]
    gap = forward(source.config.model, a.params, tokens) - forward(twice.target, b.params, tokens)
    assert float(jnp.max(jnp.abs(gap))) < 1e-12  # float64 rounding over 10 steps


@pytest.mark.parametrize(
    ("fields", "mend"),
    [
        ({"d_model": 8}, "reachable d_model is 16"),
        ({"head_dim": 6}, "reachable head_dim is"),
        ({"n_heads": 4, "n_kv_heads": 4}, "reachable n_heads is 8"),
        ({"n_layers": 3}, "reachable n_layers is 2"),
        ({"dialect": "layer"}, "reachable dialect is rms"),
    ],
)
def test_unreachable_targets_name_the_nearest_reachable(fields: dict, mend: str):
    with pytest.raises(UserError, match=mend):
        make_plan(BASE, BASE.replace(**fields))


def test_operators_are_told_apart():
    for operator in operators().values():
        assert operator.summary and operator.paper
    assert parse_operator("perturbed:sigma=0.05,cancelling=no")[1] == {"sigma": 0.05, "cancelling": False}
    for text in (
        "nothing",
        "perturbed:sigma",
        "perturbed:colour=1",
        "perturbed:sigma=red",
        "perturbed:cancelling=maybe",
    ):
        with pytest.raises(UserError):
            parse_operator(text)
    with pytest.raises(UserError, match="another source"):
        other = trained(MODELS["rms tied"], steps=1)
        widen(other, make_plan(MODELS["layer tied"], MODELS["layer tied"].replace(d_ff=30)), key=root_key(0))
