"""The exact-trajectory law: the wide run is the narrow run, for every growth and every optimizer that has a law."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing import BASE, DETERMINISTIC, FEED, GROWTHS, KEY, MODELS, OPTIM, at, furthest, on, path, trained
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.grow.law import law_tree
from growjax.grow.plan import WidthPlan, default_target, make_plan
from growjax.grow.widen import widen
from growjax.model.decoder import forward
from growjax.streams import Streams, root_key
from growjax.train.state import TrainState, init_state

STEPS = 50
TOKENS = np.random.default_rng(1).integers(0, 19, (5, 2, 7))


def logit_gap(narrow: TrainState, wide: TrainState, tokens: jax.Array) -> float:
    """Largest difference between the logits of two states."""
    a = forward(narrow.config.model, narrow.params, tokens)
    return float(jnp.max(jnp.abs(forward(wide.config.model, wide.params, tokens) - a)))


FACTORS = {"2": 2.0, "3": 3.0, "4": 4.0, "9/8": 9 / 8, "1.5": 1.5, "random": 0.0}


@st.composite
def growths(draw: st.DrawFn) -> tuple[ModelConfig, ModelConfig, int | None, float, set[str]]:
    """(source, target, seed of a random plan, epsilon, the branches taken)."""
    dialect = draw(st.sampled_from(("rms", "layer")))
    tied, qk_norm, longer = (draw(st.booleans()) for _ in range(3))
    bias = draw(st.sampled_from((None, True)))
    factor = draw(st.sampled_from(tuple(FACTORS)))
    n_kv, group = draw(st.sampled_from((1, 2))), draw(st.sampled_from((1, 2)))
    source = ModelConfig(
        d_model=8, n_layers=2, n_heads=n_kv * group, n_kv_heads=n_kv, head_dim=4, d_ff=8, vocab_size=19, max_seq_len=6,
        dialect=dialect, tie_embeddings=tied, qk_norm=qk_norm, bias=bias, norm_eps=1e-3, dtype="float64",
    )  # fmt: skip
    seed, times = None, FACTORS[factor]
    if factor == "random":
        seed = draw(st.integers(0, 2**16))
        # LayerNorm's mean allows whole multiples of the residual stream alone
        d_model = draw(st.integers(9, 24)) if dialect == "rms" else 8 * draw(st.integers(1, 3))
        d_ff, groups, inner = draw(st.integers(8, 24)), draw(st.integers(n_kv, 5)), draw(st.integers(group, 4))
    else:
        whole = times == round(times)
        d_model = round(8 * times) if dialect == "rms" or whole else 8
        d_ff, inner = round(8 * times), group
        groups = round(n_kv * times) if whole else n_kv + 1
    target = source.replace(
        d_model=d_model, d_ff=d_ff, n_heads=groups * inner, n_kv_heads=groups, head_dim=8 if longer else 4
    )
    eps = draw(st.sampled_from((1e-3, 1e-8)))
    taken = {f"x {factor}", dialect, "tied" if tied else "untied", f"eps {eps:g}"}
    taken |= {name for name, on in {
        "qk norm": qk_norm, "bias": source.biased, "longer heads": longer, "grouped queries": group > 1,
        "heads grow within groups": inner > group, "one more group": groups == n_kv + 1,
        "one kv head": groups == 1, "uneven embed": d_model % 8 != 0, "uneven mlp": d_ff % 8 != 0,
    }.items() if on}  # fmt: skip
    return source, target, seed, eps, taken


BRANCHES = {
    *(f"x {name}" for name in FACTORS), "rms", "layer", "tied", "untied", "eps 0.001", "eps 1e-08", "qk norm", "bias",
    "longer heads", "grouped queries", "heads grow within groups", "one more group", "one kv head", "uneven embed",
    "uneven mlp",
}  # fmt: skip


def check_lockstep(source: ModelConfig, target: ModelConfig, seed: int | None, eps: float, worst: Counter) -> None:
    """50 steps of AdamW with decay and clipping active; at every step the wide state is the widened narrow state."""
    optim = OptimConfig(learning_rate=3e-3, warmup_steps=2, total_steps=60, clip_norm=0.05, eps=eps)
    start = init_state(TrainConfig(model=source, optim=optim), key=Streams(root_key(0)).at("init", 0))
    plan = make_plan(source, target, key=None if seed is None else root_key(seed))
    narrow = path(start, TOKENS, steps=STEPS + 3)
    wide = path(widen(at(narrow, 3), plan, operator="lockstep", key=KEY), np.roll(TOKENS, -3, axis=0), steps=STEPS)
    for n in range(STEPS + 1):
        grown = widen(at(narrow, 3 + n), plan, operator="lockstep", key=KEY)
        reached = at(wide, n)
        gap = furthest(grown, reached)
        worst["state"] = max(worst["state"], gap)
        assert gap < 1e-9, (n, gap)  # of each leaf's largest entry; second moments are tiny squares
        counts = jax.tree.map(jnp.array_equal, grown.opt_state.count, reached.opt_state.count)
        assert all(jax.tree.leaves(counts)) and grown.step == reached.step
    last = at(wide, STEPS)
    gap = logit_gap(at(narrow, 3 + STEPS), last, TOKENS[0][:, :-1])
    worst["logits"] = max(worst["logits"], gap)
    assert gap < 1e-12  # float64 rounding over 50 steps


def test_lockstep_for_every_growth():
    """Shows that the generator's every branch was reached."""
    reached, worst = Counter(), Counter()

    @settings(max_examples=30, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(growths())
    def each(drawn: Any) -> None:
        source, target, seed, eps, taken = drawn
        check_lockstep(source, target, seed, eps, worst)
        reached.update(taken)

    each()
    print(dict(reached), dict(worst))
    assert set(reached) == BRANCHES
