"""Curves, intervals and selectors by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from growjax.measure import auc, steps_to_reach, tokens_saved
from growjax.record.integrity import finished_receipt
from growjax.schema import Record
from growjax.study.ranking import best_pair, judge_selector, kendall_tau_b, paired_interval, snapped


def test_area_by_hand_and_by_any_python():
    assert auc([0, 2, 6], [4.0, 2.0, 1.0]) == (2 * 3.0 + 4 * 1.5) / 6
    # Ten tenths: one rounding gives 1, ten roundings give one ulp less.
    assert auc(list(range(11)), [0.1] * 11) == 0.1
    with pytest.raises(ValueError, match="two points"):
        auc([0], [1.0])


def test_tokens_saved():
    steps, scratch = [0, 10, 20], [5.0, 4.0, 3.0]
    assert steps_to_reach(steps, scratch, 4.5) == 5.0 and steps_to_reach(steps, scratch, 2.0) is None
    assert tokens_saved(steps, scratch, [4.0, 2.0, 1.0], 8) == (20 * 8 - 5 * 8, False)
    assert tokens_saved(steps, scratch, [3.0, 2.0, 1.0], 8) == (160, True)  # never crosses: more than all
    assert tokens_saved(steps, scratch, [5.0, 4.5, 4.0], 8) == (-80, False)  # scratch was there ten steps earlier
    for candidate in ([4.0, 2.0, 1.0], [3.0, 2.0, 1.0], [5.0, 4.5, 4.0]):
        saved, more = tokens_saved(steps, scratch, candidate, 8)
        assert tokens_saved(steps, scratch, candidate, 8, before=3) == (saved - 3 * 8, more)


def test_rounding_decides_no_rank():
    assert snapped([1.0, 1.0 + 1e-12, 2.0, 0.5]) == [1, 1, 2, 0]
    assert kendall_tau_b([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == -1.0
    assert kendall_tau_b([1.0, 1.0 + 1e-13], [1.0, 2.0]) is None


@pytest.mark.parametrize("study", ["quick", "stories260k"])
def test_what_exact_copies_differ_by_is_rounding(study: str):
    """Their losses and divergences at step 0 come from logits in float32; a start from scratch is another."""
    cells = finished_receipt(Path(__file__).parents[1] / "artifacts" / study)["cells"]
    for source in {cell["source"] for cell in cells if cell["kind"] == "candidate"}:
        found: list[Record] = [dict(c["metrics"]) for c in cells if c["kind"] == "candidate" and c["source"] == source]
        for name in ("loss", "kl"):
            values = sorted(found, key=lambda metrics: metrics[name])
            ranks = snapped([metrics[name] for metrics in values])
            assert len({metrics[name] for metrics in values[:-1]}) > 1
            assert ranks == [*[0] * (len(values) - 1), 1]


def test_intervals_widen_with_comparisons_and_name_no_winner_by_chance():
    differences = [0.9, 1.1, 1.0]
    low, high = paired_interval(differences, 1) or (0, 0)
    quantile = 0.95 * (2 / (4 * 0.975 * 0.025)) ** 0.5  # of t with two degrees of freedom, in closed form
    assert low == pytest.approx(1.0 - quantile * 0.1 / 3**0.5, rel=1e-12)  # scipy's own quantile is iterated
    wider = paired_interval(differences, 8) or (0, 0)
    assert wider[0] < low < high < wider[1]
    pair = best_pair({"a": [1.0, 2.0], "b": [2.0, 1.5]}, 1, source="s", regime="r", lag=1)
    assert pair and pair["best"] == "a" and not pair["separated"]
    close = [[x * y for x in (1.0, 1.1, 1.2)] for y in (1.0, 1 + 1e-8)]
    level = best_pair(dict(zip("ab", close, strict=True)), 1, source="s", regime="r", lag=1)
    assert level and level["low"] and level["low"] > 0 and not level["separated"]  # rounding separates nobody
    alone = best_pair({"a": [1.0], "b": [2.0]}, 1, source="s", regime="r", lag=1)
    assert alone and alone["low"] is None and not alone["separated"]


def test_selectors_are_judged_by_what_they_cost():
    aucs = {"a": 1.0, "b": 1.5, "c": 2.0}
    right = judge_selector("x", {"a": 0.1, "b": 0.2, "c": 0.3}, aucs)
    assert right and right["tau"] == 1.0 and right["top1"] and right["regret"] == 0.0
    torn = judge_selector("x", {"a": 0.1, "b": 0.1, "c": 0.3}, aucs)
    assert torn and not torn["top1"] and torn["regret"] == 0.25
    assert judge_selector("x", {"a": 0.1, "b": 0.2}, aucs) is None
