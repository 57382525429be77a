"""Parts, measures and promises go by the copies that the operator made."""

from __future__ import annotations

from itertools import product

import jax.numpy as jnp
import pytest
from growing import BASE, DATA, DETERMINISTIC, FEED, GROWTHS, KEY, MODELS, logit_gap, on, under_way

from growjax.errors import UserError
from growjax.grow.plan import make_plan
from growjax.grow.registry import operators, parse_operator
from growjax.grow.widen import followed_plan, widen
from growjax.measure import clones_identical, law_parts, tree_escape
from growjax.streams import root_key

pytestmark = pytest.mark.usefixtures("quickly")

KEPT = 1e-12  # largest logit difference in float64: rounding
MODEL = BASE.replace(dtype="float64", qk_norm=True)
TOKENS = FEED.evaluation[0].astype(jnp.int32)[:, :-1]
PARTS = ("noise", "noise:cancel=both,snr_db=3", "moments:become=law", "moments:become=copied", "moments:become=zeroed",
         "reset", "rewarm", "law", "noise+noise")  # fmt: skip


@pytest.mark.parametrize(
    ("growth", "seed"),
    [
        ("uneven", None),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("uneven", 5), ("doubled", None), ("doubled", 5))),
    ],
)
def test_every_part_after_every_operator_keeps_or_is_refused(growth: str, seed: int | None):
    """Even plans and uneven ones, dealt in rounds and drawn."""
    source = under_way(MODEL)
    key = None if seed is None else root_key(seed)
    plan = make_plan(MODEL, MODEL.replace(**GROWTHS[growth]), key=key)
    texts = [f"{op}+{part}" for op, part in product(operators(), PARTS) if op not in ("ligo", "scratch")]
    kept = 0
    for text in texts:
        made = parse_operator(text)
        try:
            wide = widen(source, plan, operator=text, key=KEY, data=DATA)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        if made.keeps(plan):
            kept += 1
            assert logit_gap(source, wide, TOKENS) < KEPT, text
    assert kept > 50


@pytest.mark.parametrize("name", ["structured", "lemon", "zero_pad", "aki", "shrink_perturb", "scratch"])
def test_parts_that_go_by_copies_are_refused_where_there_are_none(name: str):
    source = under_way(MODEL)
    plan = make_plan(MODEL, MODEL.replace(**GROWTHS["doubled"]))
    for part in ("noise", "law", "moments:become=copied", "moments"):
        with pytest.raises(UserError, match=rf"goes by which units are copies, and new units of {name} are none"):
            widen(source, plan, operator=f"{name}+{part}", key=KEY)
    for part in ("noise:cancel=none", "moments:become=zeroed", "reset", "rewarm", "schedule"):
        widen(source, plan, operator=f"{name}+{part}", key=KEY)


@pytest.mark.parametrize("name", ["rms tied", pytest.param("layer untied", marks=pytest.mark.slow)])
def test_drawn_copies_follow_the_law_and_are_clones(name: str):
    """Net2Net's own copies, whatever plan it is given: its escape is 0, and under the law the run is the narrow one."""
    model = MODELS[name].replace(dtype="float64")
    source = under_way(model)
    growth = GROWTHS["uneven"] if name == "rms tied" else GROWTHS["doubled"]
    plan = make_plan(model, model.replace(**growth))
    own = followed_plan(plan, source.config.optim, operator="net2net", key=KEY)
    assert own != plan
    plain = widen(source, plan, operator="net2net", key=KEY)
    assert tree_escape(plain.params, own) < 1e-15 < 0.01 < tree_escape(plain.params, plan)  # float64 rounding
    assert clones_identical(plain.params, own) and not clones_identical(plain.params, plan)
    text = "net2net+moments:become=law+law"
    wide = widen(source, plan, operator=text, key=KEY)
    assert all(law_parts(source, own, wide).values())
    narrow, wide = on(source, 30, DETERMINISTIC), on(wide, 30, DETERMINISTIC)
    assert logit_gap(narrow, wide, TOKENS) < KEPT  # float64 rounding of 30 steps


def test_what_is_followed_depends_on_keys_alone_where_it_is_drawn():
    plan = make_plan(MODEL, MODEL.replace(**GROWTHS["doubled"]))
    optim = under_way(MODEL).config.optim
    follow = lambda text, **more: followed_plan(plan, optim, operator=text, key=KEY, **more)  # noqa: E731
    assert follow("exact_copy+noise") is plan and follow("net2net") == follow("net2net+noise")
    assert follow("net2net") != follow("net2net", exchanged={"structure": 3})
    assert follow("lemon").target != plan.target and follow("lemon").maps == plan.maps
