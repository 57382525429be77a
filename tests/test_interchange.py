"""A training's moments and counts into a state, and Optax's states in and out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from growing import MODELS

from growjax import UserError, from_optax, make_plan, make_state, optimizer, root_key, to_optax, widen
from growjax.config import OptimConfig, TrainConfig
from growjax.model.decoder import init_params
from growjax.streams import Streams

pytestmark = pytest.mark.usefixtures("quickly")
MODEL = MODELS["rms tied"].replace(dtype="float32")
PARAMS = init_params(MODEL, key=Streams(root_key(0)).at("init", 0))
OTHER = jax.tree.map(lambda p: p + 1, PARAMS)
SQUARES = jax.tree.map(jnp.square, PARAMS)
CONFIG = TrainConfig(model=MODEL)
CHAINS = {
    "adamw": optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.constant_schedule(1e-3))),
    "lion": optax.lion(optax.constant_schedule(1e-3)),
    "sgd": optax.inject_hyperparams(optax.sgd)(1e-3, momentum=0.9),
}


def equal(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize("name", CHAINS)
def test_optax_in_and_out(name: str):
    """What one step of Optax leaves comes in leaf by leaf, and goes out into the same structure."""
    config, tx = CONFIG.replace(optim=OptimConfig(name=name)), CHAINS[name]
    opt_state = tx.update(OTHER, tx.init(PARAMS), PARAMS)[1]
    state = make_state(config, PARAMS, **from_optax(opt_state))
    held = optax.tree.get(opt_state, "trace" if name == "sgd" else "mu")
    assert equal(state.opt_state.mu, held) and int(state.opt_state.schedule_step) == int(name != "sgd")
    assert equal(to_optax(state, tx.init(PARAMS)), opt_state) or name == "sgd"  # whose own count stays as it is given
    assert equal(to_optax(state, opt_state), opt_state)


def test_growjaxs_own_in_a_chain():
    """Factors and counts by entry stay, where no state of Optax's own holds them."""
    plan = make_plan(MODEL, MODEL.replace(d_model=MODEL.d_model + 4))
    state = make_state(CONFIG, PARAMS, mu=OTHER, nu=SQUARES, step=3)
    reset = widen(state, plan, operator="asymmetric_reset", key=root_key(1, "study"))
    locked = widen(state, plan, operator="lockstep", key=root_key(1, "study"))
    own, plain = optax.chain(optax.zero_nans(), optimizer(reset.config)), CHAINS["adamw"]
    for wide in (reset, locked):
        held = to_optax(wide, own.init(wide.params))
        again = make_state(wide.config, wide.params, **from_optax(held), law=wide.law, step=3)
        assert equal(again, wide)
    with pytest.raises(UserError, match="entries of the state count from 0 to 3 steps"):
        to_optax(reset, plain.init(reset.params))
    with pytest.raises(UserError, match="the state has factors"):
        to_optax(locked, plain.init(locked.params))
    with pytest.raises(UserError, match="ScaleByLionState holds no moments of adamw"):
        to_optax(state, CHAINS["lion"].init(PARAMS))


def test_what_is_no_training_of_one_optimizer():
    with pytest.raises(UserError, match="this has none"):
        from_optax(optax.sgd(1e-3).init(PARAMS))
    with pytest.raises(UserError, match="ScaleByAdamState, TraceState"):
        from_optax(optax.chain(optax.adam(1e-3), optax.trace(0.9)).init(PARAMS))
    steps = [optax.ScaleByScheduleState(jnp.int32(n)) for n in (1, 2)]
    with pytest.raises(UserError, match="stand at steps 1, 2"):
        from_optax((optax.adam(1e-3).init(PARAMS), steps))


def test_counts_follow_from_what_is_given():
    moments = {"mu": OTHER, "nu": SQUARES}
    for given, counts in (
        ({}, (0, 0, 0)),
        ({"step": 5}, (0, 5, 5)),  # moments of zero have seen nothing
        ({**moments, "step": 5}, (5, 5, 5)),
        ({**moments, "count": jnp.int32(7)}, (7, 7, 7)),
        ({**moments, "count": 7, "step": 9, "schedule_step": 8}, (7, 9, 8)),
        ({**moments, "schedule_step": 8}, (8, 8, 8)),
    ):
        state = make_state(CONFIG, PARAMS, **given)
        count = int(jax.tree.leaves(state.opt_state.count)[0])
        assert (count, int(state.step), int(state.opt_state.schedule_step)) == counts
        assert equal(state.opt_state.mu, given.get("mu", jax.tree.map(jnp.zeros_like, PARAMS)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mu": {**OTHER, "embedding": np.zeros(3, np.float32)}, "nu": SQUARES}, "opt_state/mu/embedding is float32"),
        ({"mu": {"embedding": 1}, "nu": SQUARES}, "opt_state/mu/blocks/.* is missing"),
        ({"mu": OTHER}, "mu is given without nu"),
        ({"mu": OTHER, "nu": jax.tree.map(lambda x: -x - 1, SQUARES)}, "opt_state/nu/.* holds negative values"),
        ({"mu": jax.tree.map(lambda x: x * jnp.nan, OTHER), "nu": SQUARES}, "holds values that are no finite"),
        ({"count": -1}, "count is -1"),
        ({"count": {"embedding": jnp.int32(1)}}, "opt_state/count/blocks/.* is missing"),
        ({"step": 0.5}, "step is 0.5"),
    ],
)
def test_what_is_beside_parameters_is_checked_leaf_by_leaf(given: dict[str, Any], words: str):
    with pytest.raises(UserError, match=words) as caught:
        make_state(CONFIG, PARAMS, **given)
    assert "\n" not in str(caught.value)
