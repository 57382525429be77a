"""Plans, clones, and what becomes of tokens and schedules."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing import BASE, FEED, KEY, MODELS, STOCHASTIC, doubled, on, under_way

from growjax.errors import UserError
from growjax.grow.plan import default_target, make_plan
from growjax.grow.widen import widen
from growjax.measure import clones_identical, divergences, tree_escape
from growjax.streams import root_key
from growjax.train.optim import schedule
from growjax.train.state import StepKeys, TrainState, train_step

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.fixture(scope="module", params=MODELS, ids=str)
def source(request: pytest.FixtureRequest) -> TrainState:
    return under_way(MODELS[request.param])


def test_exact_copies_in_float32(source: TrainState):
    plan = doubled(source)
    wide = widen(source, plan, operator="exact_copy", key=KEY)
    described = divergences((source.config.model, source.params), (plan.target, wide.params), FEED.evaluation)
    assert abs(described["kl"]) < 1e-9  # nats per token; only float32 rounding is left
    assert tree_escape(wide.params, plan) == 0.0 and clones_identical(wide.params, plan)


def test_a_step_without_keys_draws_nothing(source: TrainState):
    batch = (jnp.zeros((2, 12), jnp.int32), jnp.ones((2, 12), jnp.int32))
    assert source.config.model.dropout > 0
    without = str(jax.make_jaxpr(lambda s: train_step(s, batch))(source))
    with_keys = str(jax.make_jaxpr(lambda s, k: train_step(s, batch, keys=StepKeys(k)))(source, root_key(0)))
    assert "random_bits" not in without and "threefry" not in without
    assert "random_bits" in with_keys


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"d_model": 8}, "reachable d_model is 16"),
        ({"head_dim": 6}, "reachable head_dim is"),
        ({"n_heads": 4, "n_kv_heads": 4}, "reachable n_heads is 8"),
        ({"n_layers": 3}, "reachable n_layers is 1"),
        ({"dialect": "layer"}, "reachable norm is rms"),
        ({"position": "none"}, "reachable position is rotary"),
        ({"qkv_bias": True}, "reachable qkv_bias is False"),
        ({"vocab_size": 30}, "reachable vocab_size is 37"),
    ],
)
def test_unreachable_targets_name_the_nearest_reachable(fields: dict, hint: str):
    with pytest.raises(UserError, match=hint):
        make_plan(BASE, BASE.replace(**fields))


def test_a_plan_prints_what_stays_exact_and_what_cannot():
    model = MODELS["layer tied"]
    plan = make_plan(model, model.replace(d_model=20, n_heads=6, n_kv_heads=3, vocab_size=40))
    rows = {row.axis: row for row in plan.rows()}
    assert rows["embed"][:4] == ("embed", 16, 20, "x1 and x2") and "d_model 16 would be exact" in rows["embed"].exact
    assert rows["kv_heads"][:5] == ("kv_heads", 2, 3, "x1 and x2", "exact")
    assert rows["mlp"].exact == "as it was" and "probabilities shrink" in rows["vocab"].exact
    lines = str(plan).splitlines()
    assert len(lines) == 1 + len(rows) and lines[0].split() == ["axis", "old", "new", "copies", "exact"]
    assert [line.split()[0] for line in lines[1:]] == list(rows)


def test_plans_and_maps_are_values():
    target = BASE.replace(d_model=20, d_ff=31)
    one, other = make_plan(BASE, target), make_plan(BASE, target)
    assert one == other and hash(one) == hash(other)
    drawn = make_plan(BASE, target, key=root_key(3))
    assert drawn != one and drawn == make_plan(BASE, target, key=root_key(3))
    for axis_map in drawn.maps.values():
        assert np.array_equal(axis_map.index[~axis_map.is_new], np.arange(axis_map.old))
        assert axis_map.counts.sum() == axis_map.new


def test_copy_numbers_count_the_copies():
    axis_map = make_plan(BASE, BASE.replace(d_model=40), key=root_key(5)).maps["embed"]
    for i in range(axis_map.old):
        assert list(axis_map.copy_number[axis_map.index == i]) == list(range(axis_map.counts[i]))


@pytest.mark.parametrize(
    ("name", "operator"), [("rms tied", "lockstep"), ("layer untied", "lockstep"), ("rms untied", "zero_pad")]
)
def test_new_tokens_leave_the_logits_of_the_old(name: str, operator: str):
    source = under_way(MODELS[name].replace(dtype="float64"))
    target = default_target(source.config.model).replace(vocab_size=41)
    if operator == "zero_pad":
        target = target.replace(d_model=16)  # under LayerNorm zeros in the residual stream keep nothing
    plan = make_plan(source.config.model, target)
    wide = widen(source, plan, operator=operator, key=KEY)
    described = divergences((source.config.model, source.params), (wide.config.model, wide.params), FEED.evaluation)
    # float64 rounding of logits of order 1
    # float64 rounding of the logits
    assert described["logit_max"] < 1e-12 and 0 < described["kl"] < np.log(41 / 37) * 2
    table, mu = wide.params["embedding"], wide.opt_state.mu["embedding"]
    # float64: jax and NumPy sum 37 rows in orders of their own
    assert table.shape[0] == 41 and np.allclose(table[37:], table[:37].mean(axis=0), rtol=1e-12)
    assert not np.any(mu[37:]) and np.any(mu[:37])
    if name == "rms tied":
        assert np.isfinite(on(wide, 2, STOCHASTIC).params["embedding"]).all()


def test_a_schedule_that_starts_anew_has_the_stated_horizon():
    source = under_way(BASE)
    wide = widen(source, doubled(source), operator="exact_copy+schedule:horizon=40", key=KEY)
    assert int(wide.opt_state.schedule_step) == 0 and int(wide.step) == 8 and wide.config.optim.total_steps == 40
    rate = schedule(wide.config.optim)
    # a cosine of float32 or float64 steps: the end of the schedule to pytest's 1e-6
    assert rate(0) == 0 and float(rate(40)) == pytest.approx(source.config.optim.learning_rate * 0.1)
    kept = widen(source, doubled(source), operator="exact_copy", key=KEY)
    assert int(kept.opt_state.schedule_step) == 8 and kept.config.optim.total_steps == 100
    with pytest.raises(UserError, match=r"schedule: a horizon of 2 .* at least 3"):
        widen(source, doubled(source), operator="exact_copy+schedule:horizon=2", key=KEY)
