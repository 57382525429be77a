"""Clones under training, bit for bit, in programs as users have them."""

from __future__ import annotations

import pytest
from growing import DETERMINISTIC, FEED, KEY, MODELS, STOCHASTIC, doubled, under_way

from growjax.grow.widen import widen
from growjax.measure import clones_identical, tree_escape
from growjax.train.loop import advance


@pytest.mark.parametrize("name", ["rms tied", pytest.param("layer untied", marks=pytest.mark.slow)])
def test_clones_stay_identical_without_dropout_and_part_with_it(name: str):
    source = under_way(MODELS[name])
    plan = doubled(source)
    wide = widen(source, plan, operator="exact_copy", key=KEY)
    still, apart = (advance(wide, 128, feed=FEED, run_keys=live, batch_size=4) for live in (DETERMINISTIC, STOCHASTIC))
    assert clones_identical(still.params, plan) and tree_escape(still.params, plan) == 0.0
    assert not clones_identical(apart.params, plan) and tree_escape(apart.params, plan) > 0
