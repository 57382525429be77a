"""The exact-trajectory law under what a decoder may choose beside its parts: where norms stand and what they norm,
scales, caps and windows."""

from __future__ import annotations

from itertools import product
from typing import Any

import jax.numpy as jnp
import pytest
from growing import FEED, KEY, MIXED, logit_gap, under_way
from hypothesis import strategies as st
from test_law import check_drawn, combinations, growths

from growjax.grow.plan import make_plan
from growjax.grow.registry import parse_operator
from growjax.grow.widen import widen

pytestmark = pytest.mark.usefixtures("quickly")

CHOICES: dict[str, tuple[dict[str, Any], ...]] = {
    "norms": ({"norm_place": "before"}, {"norm_place": "after"}, {"norm_place": "both"}),
    "queries and keys": (
        {"qk_norm": False},
        {"qk_norm": True},
        {"qk_norm": True, "qk_norm_over": "all"},
    ),
    "scales and caps": (
        {},
        {"embed_scale": 4.0, "query_pre_attn_scalar": 3, "attn_softcap": 0.5, "logit_softcap": 0.25},
    ),
    "windows": ({}, {"layer_windows": (3,)}, {"layer_windows": (3,), "local_rope_theta": 20.0}),
}
"""Of each kind, one at a time."""

EVERY = [{name: value for part in parts for name, value in part.items()} for parts in product(*CHOICES.values())]

FEW = [
    {"norm_place": "after", "qk_norm": True, "qk_norm_over": "all", "layer_windows": (3,), "local_rope_theta": 20.0},
    {
        "norm_place": "both",
        "qk_norm": True,
        "qk_norm_over": "all",
        "embed_scale": 4.0,
        "query_pre_attn_scalar": 3,
        "attn_softcap": 0.5,
        "logit_softcap": 0.25,
    },
]
"""Every value that is no default."""


def chosen(choices: list[dict[str, Any]]) -> st.SearchStrategy[Any]:
    """A growth of its own for each choice, in turn."""
    rest = list(choices)

    def one(drawn: Any) -> Any:
        source, target, plan_seed, eps, taken = drawn
        own = rest.pop()
        return source.replace(**own), target.replace(**own), plan_seed, eps, taken | {f"{k} {own[k]}" for k in own}

    return growths(combinations(), 1).map(one)


def test_the_few_take_every_value():
    def values(choices: list[dict[str, Any]]) -> set[tuple[str, Any]]:
        return {item for choice in choices for item in choice.items()}

    assert values(EVERY) - values(FEW) == {("norm_place", "before"), ("qk_norm", False)}


def test_lockstep_for_every_choice():
    """Uneven copies of the residual stream, of heads and of whole groups among them."""
    reached = check_drawn(chosen(FEW), len(FEW), 248)
    assert {"uneven embed", "one more group", "grouped queries"} <= reached


def test_lockstep_for_blocks_in_parallel_and_for_positions():
    """Heads that turn in part, as fast as Llama 3's, and grow longer; a table with rows before the first position."""
    rest = [
        {"position": "rotary", "rotary_dim": 2, "rope_scaling": (4.0, 0.5, 2.0, 5.0), "parallel": True},
        {"position": "learned", "position_offset": 2, "parallel": True},
    ]
    reached = check_drawn(chosen(rest), len(rest), 84)
    assert {"longer heads", "uneven embed", "grouped queries", "tied", "untied"} <= reached


@pytest.mark.parametrize("operator", ["exact_copy", "structured", "lemon"])
def test_uneven_heads_under_one_norm_over_all_of_them(operator: str):
    """And a residual stream to which norms write. Zeros and copies alike keep the means of squares."""
    source = under_way(MIXED["rms normed after"].replace(dtype="float64"))
    plan = make_plan(source.config.model, source.config.model.replace(d_model=19, d_ff=31, n_heads=6, n_kv_heads=3))
    assert parse_operator(operator).keeps(plan)
    wide = widen(source, plan, operator=operator, key=KEY)
    assert logit_gap(source, wide, FEED.evaluation[0].astype(jnp.int32)[:, :-1]) < 1e-12  # float64 rounding


@pytest.mark.slow
def test_lockstep_for_all_choices_together():
    check_drawn(chosen(EVERY), len(EVERY), 0)
