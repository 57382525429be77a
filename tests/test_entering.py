"""What enters `widen` and training: targets, states, and whose arrays they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing import BASE, DATA, DETERMINISTIC, FEED, KEY, OPTIM, doubled, under_way

from growjax.config import ModelConfig, TrainConfig
from growjax.errors import UserError
from growjax.grow.plan import WIDTHS, WidthPlan, default_target, make_plan
from growjax.grow.registry import operators
from growjax.grow.widen import widen
from growjax.train.loop import advance
from growjax.train.shards import run_sharded
from growjax.train.state import TrainState, train_step

pytestmark = pytest.mark.usefixtures("quickly")

OTHERS: dict[str, Any] = {
    "n_layers": 3, "max_seq_len": 24, "dialect": "layer", "norm": "layer", "position": "learned", "mlp": "plain",
    "activation": "gelu", "qkv_bias": True, "attn_out_bias": True, "mlp_bias": True, "tie_embeddings": False,
    "qk_norm": True, "bias": True, "dropout": 0.0, "rope_theta": 500.0, "rope_dim": 2, "rotary_dim": 2,
    "rope_scaling": (2.0,), "position_offset": 2, "parallel": True, "norm_eps": 1e-2,
    "qk_norm_eps": 1e-3, "norm_place": "after", "qk_norm_over": "all", "embed_scale": 4.0, "query_pre_attn_scalar": 9,
    "attn_softcap": 5.0, "logit_softcap": 3.0, "layer_windows": (5,), "local_rope_theta": 20.0,
    "init_std": 0.05, "dtype": "float64",
}  # fmt: skip
"""Another value of every field that is no width."""


def test_every_field_of_a_target_is_a_width_or_stays():
    """A field that is new must choose: it stands among the widths, or here, and is refused."""
    fields = {field.name for field in dataclasses.fields(ModelConfig)}
    assert fields == {*WIDTHS, *OTHERS} and not set(WIDTHS) & set(OTHERS)
    wide = default_target(BASE)
    for name, value in OTHERS.items():
        with pytest.raises(UserError, match="growth in width leaves"):
            make_plan(BASE, wide.replace(**{name: value}))
        forged = dataclasses.replace(make_plan(BASE, wide), target=wide.replace(**{name: value}))
        with pytest.raises(UserError, match="growth in width leaves"):
            widen(under_way(BASE), forged, key=KEY)


@pytest.mark.parametrize(
    "dtype", ["float64", *(pytest.param(d, marks=pytest.mark.slow) for d in ("float32", "bfloat16"))]
)
def test_all_else_of_a_training_configuration_is_carried(dtype: str):
    """By every operator; and parameters have the dtype that the configuration says."""
    assert {field.name for field in dataclasses.fields(TrainConfig)} == {"model", "optim"}
    source = under_way(BASE.replace(dtype=dtype))  # pyright: ignore[reportArgumentType]
    plan = doubled(source)
    for text in operators():
        wide = widen(source, plan, operator=text + (":steps=1" if text == "ligo" else ""), key=KEY, data=DATA)
        assert wide.config.optim == OPTIM, text
        changed = {f.name for f in dataclasses.fields(ModelConfig)
                   if getattr(wide.config.model, f.name) != getattr(plan.target, f.name)}  # fmt: skip
        assert changed <= ({"norm_eps"} if text in ("zero_pad", "lemon") else set()), text
        params = jax.tree.leaves((wide.params, wide.opt_state.mu, wide.opt_state.nu))
        assert {leaf.dtype.name for leaf in params} == {plan.target.param_dtype}, text


def test_a_rotary_table_may_be_given_as_the_plan_has_it():
    longer = BASE.replace(head_dim=8)
    for rope_dim in (None, 4):
        assert make_plan(BASE, longer.replace(rope_dim=rope_dim)).target.rope_dim == 4
    with pytest.raises(UserError, match="leaves rope_dim at None, not 8"):
        make_plan(BASE, longer.replace(rope_dim=8))


def pointers(state: TrainState) -> list[int]:
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]


@pytest.mark.parametrize("text", [*operators(), "sparkling+law+schedule", "exact_copy+moments:become=refilled"])
def test_a_candidate_has_arrays_of_its_own(text: str):
    """A donated step on it leaves its source as it was, whatever does not grow; and the other way round."""
    source = widen(under_way(BASE), doubled(under_way(BASE)), operator="sparkling+law", key=KEY)
    before = jax.tree.map(np.array, source)
    plan = make_plan(source.config.model, source.config.model.replace(d_ff=96))
    text += ":steps=1" if text == "ligo" else ""
    wide = widen(source, plan, operator=text, key=KEY, data=DATA)
    assert len(set(pointers(wide))) == len(pointers(wide)) and not set(pointers(wide)) & set(pointers(source))
    windows = FEED.evaluation[0].astype(jnp.int32)
    donated = jax.jit(train_step, donate_argnums=0)(wide, (windows[:, :-1], windows[:, 1:]))
    jax.block_until_ready(donated)
    jax.tree.map(np.testing.assert_array_equal, source, before)


def test_widening_to_the_same_widths_is_a_copy():
    source = under_way(BASE)
    wide = widen(source, make_plan(BASE, BASE), key=KEY)
    assert not set(pointers(wide)) & set(pointers(source))
    jax.tree.map(np.testing.assert_array_equal, wide, source)


def planted(state: TrainState) -> dict[str, tuple[TrainState, str]]:
    """States that are not what their configuration says, each with what is given it."""
    params, opt = state.params, state.opt_state
    blocks = params["blocks"]
    lacking = {k: v for k, v in params.items() if k != "embedding"}
    law = widen(state, make_plan(BASE, BASE), operator="lockstep", key=KEY).law
    assert law is not None
    counted = {**opt.count, "embedding": jnp.zeros(3, jnp.int32)}
    return {
        "shape": (state.replace(params={**params, "embedding": params["embedding"][:-1]}),
                  r"params/embedding is float32 \[36, 16\], where its configuration has float32 \[37, 16\]"),
        "missing": (state.replace(params=lacking), "params/embedding is missing"),
        "extra": (state.replace(params={**params, "head": params["embedding"]}), "params/head is no leaf"),
        "dtype": (state.replace(params={**params, "blocks": {**blocks, "wq": blocks["wq"].astype(jnp.float64)}}),
                  "params/blocks/wq is float64"),
        "number": (state.replace(params={**params, "final_norm_gain": 1.0}), "params/final_norm_gain is float"),
        "mu": (state.replace(opt_state=opt._replace(mu={**opt.mu, "embedding": jnp.zeros(())})), "opt_state/mu/embed"),
        "nu": (state.replace(opt_state=opt._replace(nu={})), "opt_state/nu/.* is missing"),
        "count": (state.replace(opt_state=opt._replace(count=counted)), "opt_state/count/embedding is int32"),
        "schedule": (state.replace(opt_state=opt._replace(schedule_step=jnp.zeros(()))), "schedule_step is float"),
        "step": (state.replace(step=jnp.zeros(2, jnp.int32)), "step is int32"),
        "law": (state.replace(law=law._replace(lr={**law.lr, "embedding": jnp.ones(3)})), "law/lr/embedding"),
        "config": (state.replace(config=state.config.replace(model=BASE.replace(d_ff=23))), "params/blocks/w_"),
    }  # fmt: skip


@pytest.mark.parametrize("name", planted(under_way(BASE)))
def test_a_state_that_is_not_what_its_configuration_says_does_not_enter(name: str):
    state, described = planted(under_way(BASE))[name]
    enter = [
        lambda: widen(state, make_plan(state.config.model, default_target(state.config.model)), key=KEY),
        lambda: advance(state, 1, feed=FEED, run_keys=DETERMINISTIC, batch_size=4),
        lambda: run_sharded(state, FEED, DETERMINISTIC, batch_size=4, shards=2, segments=1, segment_steps=1),
    ]
    for each in enter:
        with pytest.raises(UserError, match=described) as found:
            each()
        assert "\n" not in str(found.value)


def test_plans_are_of_the_state_s_own_model():
    with pytest.raises(UserError, match="another source model"):
        widen(under_way(BASE), WidthPlan(BASE.replace(d_ff=8), BASE, {}), key=KEY)


def test_what_was_given_away_and_what_is_no_operator_are_named():
    """Arrays of a donated state, an operator that is no text, a record that is none."""
    state = under_way(BASE)
    plan, gone = doubled(state), jax.tree.map(jnp.copy, state)
    gone.params["embedding"].delete()
    with pytest.raises(UserError, match="params/embedding was given away"):
        widen(gone, plan, key=KEY)
    for operator in (None, 5, b"exact_copy"):
        with pytest.raises(UserError, match="an operator is a text"):
            widen(state, plan, operator=operator, key=KEY)  # pyright: ignore[reportArgumentType]
    for record in (None, [1], "model"):
        with pytest.raises(UserError, match="a TrainConfig is a dict of fields"):
            TrainConfig.from_dict(record)  # pyright: ignore[reportArgumentType]
