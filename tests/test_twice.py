"""Growing twice: nothing that the first growth left behind breaks a promise of the second, for every ordered pair."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing import BASE, DATA, DETERMINISTIC, FEED, KEY, logit_gap, on, under_way

from growjax.errors import UserError
from growjax.grow.copying import new_entries
from growjax.grow.plan import WidthPlan, make_plan
from growjax.grow.registry import operators, parse_operator
from growjax.grow.widen import followed_plan, widen
from growjax.measure import law_parts
from growjax.model.axes import map_specs
from growjax.model.decoder import param_specs
from growjax.train.state import TrainState

pytestmark = pytest.mark.usefixtures("quickly")

KEPT = 1e-12  # largest logit difference in float64: rounding
MODEL = BASE.replace(dtype="float64", tie_embeddings=False)
TOKENS = FEED.evaluation[0].astype(jnp.int32)[:, :-1]
WIDTHS = {
    "even": ({"d_model": 32, "n_heads": 8, "n_kv_heads": 4, "d_ff": 48},
             {"d_model": 64, "n_heads": 16, "n_kv_heads": 8, "d_ff": 96}),
    "uneven": ({"d_model": 20, "n_heads": 6, "n_kv_heads": 3, "d_ff": 31},
               {"d_model": 33, "n_heads": 10, "n_kv_heads": 5, "d_ff": 40}),
}  # fmt: skip
LAWFUL = ("lockstep", "net2net+moments:become=law+law", "hypercloning+moments:become=law+law", "sparkling+moments+law")
"""Texts that promise the whole law."""
TEXTS = (*operators(), *LAWFUL[1:])


def planned(state: TrainState, widths: dict) -> WidthPlan:
    return make_plan(state.config.model, state.config.model.replace(**widths))


def grown(state: TrainState, widths: dict, text: str) -> TrainState | None:
    """The candidate; None where the operator cannot follow."""
    text += ":steps=2" if text == "ligo" else ""
    try:
        return widen(state, planned(state, widths), operator=text, key=KEY, data=DATA)
    except UserError as error:
        assert "defined for whole multiples" in str(error) or "whole models side by side" in str(error)
        return None


@lru_cache
def first(text: str, growth: str) -> TrainState | None:
    """Grown once, and trained for 3 steps."""
    middle = grown(under_way(MODEL), WIDTHS[growth][0], text)
    return None if middle is None else on(middle, 3, DETERMINISTIC)


def check(before: str, after: str, growth: str) -> str:
    middle = first(before, growth)
    wide = None if middle is None else grown(middle, WIDTHS[growth][1], after)
    if middle is None or wide is None:
        return "refused"
    plan = planned(middle, WIDTHS[growth][1])
    if parse_operator(after).keeps(plan):
        assert logit_gap(middle, wide, TOKENS) < KEPT, (before, after)
    own = followed_plan(plan, middle.config.optim, operator=after, key=KEY)
    if after not in LAWFUL:
        return "once"
    held = law_parts(middle, own, wide)
    assert all(held.values()), (before, after, held)
    narrow, wide = (on(state, 30, DETERMINISTIC) for state in (middle, wide))
    # float64 rounding of 30 steps
    assert logit_gap(narrow, wide, TOKENS) < KEPT, (before, after)
    return "law"


QUICK = [("sparkling", "lockstep"), ("lockstep", "hypercloning+moments:become=law+law"), ("zero_pad", "lemon"),
         ("asymmetric_reset", "net2net+moments:become=law+law"), ("lemon", "structured")]  # fmt: skip


@pytest.mark.parametrize("pair", QUICK, ids=" then ".join)
def test_some_pairs_of_operators(pair: tuple[str, str]):
    assert check(*pair, "uneven") in ("once", "law", "refused") and first(pair[0], "uneven") is not None


@pytest.mark.slow
@pytest.mark.parametrize("growth", WIDTHS)
@pytest.mark.parametrize("before", TEXTS)
def test_every_pair_of_operators(before: str, growth: str):
    seen = {after: check(before, after, growth) for after in TEXTS}
    if first(before, growth) is not None:
        assert {seen[text] for text in LAWFUL if "hypercloning" not in text} == {"law"}


FRESH = ("net2net", "hypercloning_noisy", "lemon", "scratch")
"""Some of the operators whose optimizer has seen nothing."""


def test_no_warm_up_count_or_factor_leaks_into_a_growth_that_asks_for_none():
    """After an operator that gives units warm-ups, counts and factors of their own, each other starts units as it
    says."""
    source = under_way(MODEL)
    middle = grown(source, WIDTHS["even"][0], "sparkling:rewarm=32+law")
    assert middle is not None
    plan = planned(middle, WIDTHS["even"][1])
    specs = param_specs(plan.source)
    for text in FRESH:
        wide = grown(middle, WIDTHS["even"][1], text)
        assert wide is not None and wide.law is None, text
        assert all(c.ndim == 0 and int(c) == 0 for c in jax.tree.leaves(wide.opt_state.count)), text
    for text in ("asymmetric_reset", "zero_pad", "asymmetric_reset+moments:become=zeroed"):
        wide = grown(middle, WIDTHS["even"][1], text)
        assert wide is not None and wide.law is not None
        warm = wide.law.warm if wide.law.warm is not None else jax.tree.map(lambda c: 0 * c, wide.opt_state.count)

        def starts_cold(spec, steps):
            return bool(np.any(np.where(new_entries(spec, plan), steps, 0)))

        assert not any(jax.tree.leaves(map_specs(starts_cold, specs, warm))), text
    padded = grown(middle, WIDTHS["even"][1], "zero_pad")
    assert padded is not None and padded.law is not None
    ours = map_specs(lambda s, f: bool(np.all(np.where(new_entries(s, plan), f, 1) == 1)), specs, padded.law.lr)
    assert all(jax.tree.leaves(ours))


def test_a_warm_up_goes_on_where_a_growth_carries_the_state():
    """Old entries of a second `sparkling` go on warming up from the first; the exact copy and lockstep carry all."""
    middle = grown(under_way(MODEL), WIDTHS["even"][0], "sparkling:rewarm=32")
    assert middle is not None and middle.law is not None
    for text, steps in (("sparkling:rewarm=8", {0, 8, 32}), ("exact_copy", {0, 32}), ("lockstep", {0, 32})):
        wide = grown(middle, WIDTHS["even"][1], text)
        assert wide is not None and wide.law is not None
        assert set(np.unique(wide.law.warm["blocks"]["w_up"]).tolist()) == steps, text


def test_the_law_is_that_of_the_source_s_own_constants():
    """The law twice is the law once, and after factors of the operator's own it is the law still."""
    source = under_way(MODEL)
    once = grown(source, WIDTHS["even"][0], "lockstep")
    for text in ("lockstep+law", "mupscale:sigma=0+law", "exact_copy+law+law"):
        wide = grown(source, WIDTHS["even"][0], text)
        assert once is not None and wide is not None
        jax.tree.map(np.testing.assert_array_equal, once.law, wide.law)


def test_new_tokens_take_the_counts_of_the_old():
    """Where counts are kept by entry a new row's first step is corrected like the others' next one."""
    middle = first("asymmetric_reset", "even")
    assert middle is not None
    target = middle.config.model.replace(vocab_size=41)
    wide = widen(middle, make_plan(middle.config.model, target), key=KEY)
    count = np.asarray(wide.opt_state.count["embedding"])
    assert count.shape == (41, 32) and np.array_equal(count[37:], np.broadcast_to(count[:37].max(axis=0), (4, 32)))
    assert count.min() == 3
