"""The optimizers are Optax's, and each that has a law follows it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from growing import KEY, MODELS, at, filled, furthest, lockstep_gap, logit_gap, path
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from growjax.config import OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.grow.plan import default_target, make_plan
from growjax.grow.widen import widen
from growjax.model.axes import is_spec
from growjax.model.decoder import init_params, param_specs
from growjax.streams import Streams, root_key
from growjax.train.directions import muon_shape_factor
from growjax.train.optim import schedule, transformation
from growjax.train.state import TrainState, init_state

pytestmark = pytest.mark.usefixtures("quickly")

NAMES = ("adamw", "lion", "sgd", "muon")
MODEL = MODELS["rms untied"].replace(dtype="float64")
WINDOWS = np.random.default_rng(2).integers(0, 37, (5, 2, 9))


def of_optax(config: OptimConfig) -> optax.GradientTransformation:
    """The same optimizer, put together from Optax's parts."""
    specs = param_specs(MODEL)
    rate = optax.scale_by_learning_rate(schedule(config))
    decayed = jax.tree.map(lambda s: s.decayed, specs, is_leaf=is_spec)
    decay = optax.add_decayed_weights(config.weight_decay, mask=decayed)
    adam = optax.scale_by_adam(config.b1, config.b2, config.eps)
    if config.name == "muon":
        groups = jax.tree.map(lambda s: "matrix" if s.is_matrix else "rest", specs, is_leaf=is_spec)

        def numbers(params):
            found = jax.tree.map(
                lambda s, p: (
                    optax.MaskedNode()
                    if isinstance(p, optax.MaskedNode)
                    else MuonDimensionNumbers(s.positions("reads"), s.positions("writes"))
                ),
                specs,
                params,
                is_leaf=is_spec,
            )
            return found

        shaped = optax.stateless(
            lambda updates, _: jax.tree.map(
                lambda s, u: u if isinstance(u, optax.MaskedNode) else u * muon_shape_factor(s, u.shape),
                specs,
                updates,
                is_leaf=is_spec,
            )
        )
        muon = scale_by_muon(beta=config.muon_beta, eps=config.eps, weight_dimension_numbers=numbers)
        direction = optax.partition({"matrix": optax.chain(muon, shaped), "rest": adam}, groups)
    else:
        lion = optax.scale_by_lion(config.b1, config.b2)
        direction = {"adamw": adam, "lion": lion, "sgd": optax.trace(config.b1)}[config.name]
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), direction, decay, rate)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_optax_s(name: str):
    config = OptimConfig(name=name, learning_rate=1e-2, warmup_steps=2, total_steps=9, clip_norm=0.5)  # pyright: ignore
    params = init_params(MODEL, key=Streams(root_key(0)).at("init", 0))
    ours, theirs = transformation(config, param_specs(MODEL)), of_optax(config)
    a, b, state_a, state_b = params, params, ours.init(params), theirs.init(params)
    for i in range(6):
        grads = jax.tree.map(lambda p, i=i: jnp.sin(p * 100 + i), params)
        updates_a, state_a = ours.update(grads, state_a, a)
        updates_b, state_b = theirs.update(grads, state_b, b)
        a, b = optax.apply_updates(a, updates_a), optax.apply_updates(b, updates_b)
    assert furthest(a, b) < 1e-13  # float64: products rounded elsewhere, and Muon divides once more
    assert furthest(a, params) > 1e-4


GROWTHS = {
    "doubled": {"d_model": 32, "n_heads": 8, "n_kv_heads": 4, "d_ff": 48},
    "residual stream alone, unevenly": {"d_model": 21},
    "all unevenly": {"d_model": 20, "n_heads": 6, "n_kv_heads": 3, "d_ff": 31},
    "longer heads": {"d_model": 32, "head_dim": 8, "n_heads": 8},
}
REFUSED = {("muon", "all unevenly")}


@pytest.fixture(scope="module", params=["lion", "sgd", "muon"])
def narrow(request: pytest.FixtureRequest) -> TrainState:
    """All states of 23 narrow steps in float64, decay and clipping active."""
    optim = OptimConfig(name=request.param, learning_rate=3e-3, warmup_steps=2, total_steps=60, clip_norm=0.05)
    start = init_state(TrainConfig(model=MODEL, optim=optim), key=Streams(root_key(0)).at("init", 0))
    return path(start, WINDOWS, steps=23)


QUICK = ("doubled", "all unevenly")


@pytest.mark.parametrize("growth", [pytest.param(g, marks=() if g in QUICK else pytest.mark.slow) for g in GROWTHS])
def test_the_law_of_each(narrow: TrainState, growth: str):
    """AdamW's own test is in test_law."""
    plan = make_plan(MODEL, MODEL.replace(**GROWTHS[growth]))
    if (narrow.config.optim.name, growth) in REFUSED:
        with pytest.raises(UserError, match=r"Muon has no law along .* whole multiple"):
            widen(at(narrow, 3), plan, operator="lockstep", key=KEY)
        return
    assert lockstep_gap(narrow, plan, WINDOWS, 3)[0] < 1e-11  # float64 rounding; Newton-Schulz magnifies it


def test_without_its_law_each_parts(narrow: TrainState):
    plan = make_plan(MODEL, default_target(MODEL))
    text = "exact_copy+law:lr=no,decay=no,eps=no,clip=no"  # factors of 1, so that the program is the same
    plain = path(widen(at(narrow, 3), plan, operator=text, key=KEY), np.roll(WINDOWS, -3, axis=0), steps=20)
    grown = widen(at(narrow, 23), plan, operator="lockstep", key=KEY)
    assert furthest(grown.params, at(plain, 20).params) > 1e-6


@pytest.mark.slow
def test_lion_moves_what_no_loss_depends_on():
    """Keys' bias without rotary positions: its gradient is rounding, and Lion takes the sign of that. Logits agree."""
    optim = OptimConfig(name="lion", learning_rate=3e-3, warmup_steps=2, total_steps=60, clip_norm=0.05)
    model = MODELS["rms tied"].replace(dtype="float64", position="none", qkv_bias=True)
    narrow = path(filled(TrainConfig(model=model, optim=optim)), WINDOWS, steps=23)
    plan = make_plan(model, default_target(model))
    gap, last = lockstep_gap(narrow, plan, WINDOWS, 3)
    assert gap > 1e-3 and logit_gap(at(narrow, 23), last, WINDOWS[0][:, :-1]) < 1e-12  # float64 rounding over 20 steps
    grown = widen(at(narrow, 23), plan, operator="lockstep", key=KEY).params["blocks"]
    # float64 rounding over 20 steps
    assert furthest({**grown, "bk": np.zeros(1)}, {**last.params["blocks"], "bk": np.zeros(1)}) < 1e-12


def test_an_optimizer_keeps_no_moment_it_does_not_use():
    for name, kept in {"adamw": True, "lion": False, "sgd": False}.items():
        state = init_state(TrainConfig(model=MODEL, optim=OptimConfig(name=name)), key=KEY)  # pyright: ignore
        wide = widen(state, make_plan(MODEL, default_target(MODEL)), key=KEY)
        for s in (state, wide):
            assert all((leaf.ndim > 0) == kept for leaf in jax.tree.leaves(s.opt_state.nu))
