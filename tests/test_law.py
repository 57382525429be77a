"""The exact-trajectory law: the wide run is the narrow run, for every growth and every combination of parts.

Other optimizers than AdamW are in test_optimizers.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing import DETERMINISTIC, FEED, GROWTHS, KEY, MODELS, at, filled, lockstep_gap, logit_gap, on, path, under_way
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from growjax.config import Activation, Dialect, Mlp, ModelConfig, Norm, OptimConfig, Position, TrainConfig
from growjax.grow.law import law_tree
from growjax.grow.plan import default_target, make_plan
from growjax.grow.widen import widen
from growjax.model.components import components
from growjax.model.decoder import forward
from growjax.streams import root_key

pytestmark = pytest.mark.usefixtures("quickly")

STEPS = 50
TOKENS = np.random.default_rng(1).integers(0, 19, (5, 2, 7))


FACTORS = {"2": 2.0, "3": 3.0, "4": 4.0, "9/8": 9 / 8, "1.5": 1.5, "random": 0.0}


PLACES = ("qkv_bias", "attn_out_bias", "mlp_bias")
CORES = list(product(get_args(Norm), get_args(Position), get_args(Mlp), get_args(Activation)))
"""Every norm with every kind of positions, MLP and activation; biases by place and norms of queries and keys aside."""


def named(core: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a core."""
    return dict(zip(("norm", "position", "mlp", "activation"), core, strict=True))


def values_of(model: ModelConfig) -> set[str]:
    """Every part with its value; the MLP with its activation."""
    fields = model.architecture._asdict()
    fields["mlp"] += f" {fields.pop('activation')}"
    return {f"{name} {value}" for name, value in fields.items()}


@st.composite
def combinations(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of any combination of parts."""
    core = draw(st.sampled_from(CORES[::-1]))  # what is first is drawn first, and the test of presets has the other end
    return named(core) | {place: draw(st.booleans()) for place in PLACES}


@st.composite
def growths(
    draw: st.DrawFn, parts: st.SearchStrategy[dict[str, Any]], layers: int
) -> tuple[ModelConfig, ModelConfig, int | None, float, set[str]]:
    """(source, target, seed of a random plan, epsilon, the branches taken)."""
    chosen = draw(parts)
    tied, qk_norm, longer = (draw(st.booleans()) for _ in range(3))
    bias = draw(st.sampled_from((None, True)))
    factor = draw(st.sampled_from(tuple(FACTORS)))
    n_kv, group = draw(st.sampled_from((1, 2))), draw(st.sampled_from((1, 2)))
    source = ModelConfig(
        d_model=8, n_layers=layers, n_heads=n_kv * group, n_kv_heads=n_kv, head_dim=4, d_ff=8, vocab_size=19,
        max_seq_len=6, tie_embeddings=tied, qk_norm=qk_norm, bias=bias, norm_eps=1e-3, dtype="float64", **chosen,
    )  # fmt: skip
    even, whole = components(source).even, components(source).whole
    plan_seed, times = None, FACTORS[factor]
    if factor == "random":
        plan_seed = draw(st.integers(0, 2**16))
        d_model = 8 * draw(st.integers(1, 3)) if "embed" in even else draw(st.integers(9, 24))
        d_ff, groups, inner = draw(st.integers(8, 24)), draw(st.integers(n_kv, 5)), draw(st.integers(group, 4))
    else:
        d_model = round(8 * times) if times == round(times) or "embed" not in even else 8
        d_ff, inner = round(8 * times), group
        groups = round(n_kv * times) if times == round(times) else n_kv + 1
    head_dim = draw(st.sampled_from((8,) if "head_dim" in whole else (8, 7))) if longer else 4
    target = source.replace(d_model=d_model, d_ff=d_ff, n_heads=groups * inner, n_kv_heads=groups, head_dim=head_dim)
    eps = draw(st.sampled_from((1e-3, 1e-8)))
    taken = {f"x {factor}", "tied" if tied else "untied", f"eps {eps:g}"}
    taken |= values_of(source)
    taken |= {name for name, on in {
        "qk norm": qk_norm, "no qk norm": not qk_norm, "longer heads": longer, "grouped queries": group > 1,
        "heads grow within groups": inner > group, "one more group": groups == n_kv + 1,
        "one kv head": groups == 1, "uneven embed": d_model % 8 != 0, "uneven mlp": d_ff % 8 != 0,
        "uneven heads' length": head_dim == 7,
    }.items() if on}  # fmt: skip
    return source, target, plan_seed, eps, taken


BRANCHES = {
    *(f"x {name}" for name in FACTORS), "tied", "untied", "eps 0.001", "eps 1e-08", "qk norm", "no qk norm",
    "longer heads", "grouped queries", "heads grow within groups", "one more group", "one kv head", "uneven embed",
    "uneven mlp", "uneven heads' length",
}  # fmt: skip
VALUES = set().union(*(values_of(ModelConfig(**named(core), bias=bias)) for core in CORES for bias in (False, True)))


def check_lockstep(source: ModelConfig, target: ModelConfig, plan_seed: int | None, eps: float, worst: Counter) -> None:
    """50 steps of AdamW with decay and clipping active; at every step the wide state is the widened narrow state."""
    optim = OptimConfig(learning_rate=3e-3, warmup_steps=2, total_steps=60, clip_norm=0.05, eps=eps)
    start = filled(TrainConfig(model=source, optim=optim))
    plan = make_plan(source, target, key=None if plan_seed is None else root_key(plan_seed))
    narrow = path(start, TOKENS, steps=STEPS + 3)
    gap, last = lockstep_gap(narrow, plan, TOKENS, 3)
    worst["state"] = max(worst["state"], gap)
    assert gap < 1e-12  # at every step, of the largest entry; float64 rounding over 50 steps
    gap = logit_gap(at(narrow, 3 + STEPS), last, TOKENS[0][:, :-1])
    worst["logits"] = max(worst["logits"], gap)
    assert gap < 1e-12  # float64 rounding over 50 steps


def preset(dialect: Dialect) -> st.SearchStrategy[dict[str, Any]]:
    """A preset of parts; as `bias` is drawn, those of the presets that have none may get them."""
    return st.just({"dialect": dialect})


def covered(dialect: Dialect) -> set[str]:
    """The branches there are: under LayerNorm uneven copies of the residual stream have no law (the plan says so), and
    rotary positions turn whole tables."""
    parts = components(ModelConfig(dialect=dialect))
    none = {"embed": "uneven embed", "head_dim": "uneven heads' length"}
    return BRANCHES - {none[axis] for axis in parts.even | parts.whole}


def check_drawn(drawn: st.SearchStrategy[Any], examples: int, number: int) -> set[str]:
    """Checks so many drawn growths; returns the branches they took."""
    reached, worst = Counter(), Counter()

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def each(drawn: Any) -> None:
        source, target, plan_seed, eps, taken = drawn
        check_lockstep(source, target, plan_seed, eps, worst)
        reached.update(taken)
        jax.clear_caches()  # every example has programs of its own

    each()
    print(dict(reached), dict(worst))
    return set(reached)


@pytest.mark.parametrize(("dialect", "examples", "number"), [("rms", 4, 358), ("layer", 3, 412)])
def test_lockstep_for_every_kind_of_growth(dialect: Dialect, examples: int, number: int):
    """A few draws, of one layer, that take every branch of the generator but some of its factors. Widening commutes
    with training."""
    reached = check_drawn(growths(preset(dialect), 1), examples, number)
    assert covered(dialect) - reached <= {"x 1.5", "x 4", "x 9/8"}


def test_lockstep_for_every_part():
    """A few draws in which every part takes every value it has, but for the MLPs of the presets, and those that are
    gated by what is drawn without a gate."""
    others = {"mlp gated silu", "mlp plain gelu", "mlp gated gelu_erf", "mlp gated relu"}
    assert VALUES - check_drawn(growths(combinations(), 1), 4, 605) <= others


@pytest.mark.slow
@pytest.mark.parametrize("dialect", get_args(Dialect))
def test_lockstep_for_many_growths(dialect: Dialect):
    """The same for many more draws, of two layers: about ten minutes each."""
    assert check_drawn(growths(preset(dialect), 2), 60, 0) >= covered(dialect)


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES, ids=" ".join)
def test_lockstep_for_every_combination(core: tuple[str, ...]):
    """With biases in every choice of places, queries and keys normed or not, each under a growth of its own."""
    rest = [dict(zip((*PLACES, "qk_norm"), choice, strict=True)) for choice in product((False, True), repeat=4)]

    def with_rest(drawn: Any) -> Any:
        source, target, plan_seed, eps, _ = drawn
        own = rest.pop()
        return source.replace(**own), target.replace(**own), plan_seed, eps, {str(own)}

    check_drawn(growths(st.just(named(core)), 1).map(with_rest), len(rest), CORES.index(core))
    assert not rest


def test_lockstep_in_float32():
    """The same in float32: rounding only, which training magnifies."""
    model = MODELS["layer tied"]
    source = under_way(model)
    plan = make_plan(model, model.replace(**GROWTHS["doubled"]))
    a, b = on(source, 50, DETERMINISTIC), on(widen(source, plan, operator="lockstep", key=KEY), 50, DETERMINISTIC)
    apart = logit_gap(a, b, FEED.evaluation[0].astype(jnp.int32)[:, :-1])
    print(f"float32, largest logit difference after 50 steps: {apart:.2e}")
    assert apart < 1e-4  # float32 rounding, magnified by 50 steps


def test_the_table_of_the_law():
    """growth_law's table for whole multiples k, read off the parameters by name."""
    k = 3
    model = MODELS["layer untied"]
    plan = make_plan(model, default_target(model, k))
    laws = law_tree(plan)
    block, one = laws["blocks"], np.ones(1)

    def is_(law, s, r):
        # One division in float64: 1/k may be an ulp away from the law's own product.
        assert np.allclose(law.s, s * one, rtol=1e-15) and np.allclose(law.r, r * one, rtol=1e-15)
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


def test_growing_twice_composes_the_law():
    source = under_way(MODELS["rms tied"].replace(dtype="float64"))
    once = make_plan(source.config.model, source.config.model.replace(d_model=20, d_ff=30))
    middle = widen(source, once, operator="lockstep", key=root_key(1, "study"))
    twice = make_plan(once.target, once.target.replace(d_model=40, d_ff=35))
    wide = widen(middle, twice, operator="lockstep", key=root_key(1, "study"))
    a = on(source, 10, DETERMINISTIC)
    b = on(wide, 10, DETERMINISTIC)
    tokens = FEED.evaluation[0].astype(jnp.int32)[:, :-1]
    gap = forward(source.config.model, a.params, tokens) - forward(twice.target, b.params, tokens)
    assert float(jnp.max(jnp.abs(gap))) < 1e-12  # float64 rounding over 10 steps
