"""The race among warm starts, on made-up curves where the answer is known."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growjax.errors import UserError
from growjax.measure.curves import auc
from growjax.select.race import Curves, Request, Rules, Verdict, ladder, least_budget, race
from growjax.select.runner import planned
from growjax.select.summary import _uncertain
from growjax.select.trust import Difference, Outlook, fitted, measured_from, outlook, published
from growjax.study.selection import Selection, read_spec
from growjax.study.spec import StudySpec

HORIZON, EVERY = 128, 8


def rules(budget: int, **more: int) -> Rules:
    return Rules(HORIZON, budget, ladder(HORIZON, EVERY, 16), EVERY, **more)


def played(curve, names: list[str], given: Rules, outlooks=lambda lag: Outlook(1.0, 0.0, 0.0)) -> Verdict:
    """A race over curves `curve(name, replicate)`; every request is checked against what was run before."""
    running, reached = race(names, given, outlooks), {}
    request: Request = next(running)
    try:
        while True:
            making = 0 if reached else given.making
            steps = sum(request.lag - reached.get(place, 0) for place in request.places)
            assert request.steps == making + steps > making
            reached |= dict.fromkeys(request.places, request.lag)
            curves: Curves = {place: curve(*place)[: request.lag // EVERY + 1] for place in request.places}
            request = running.send(curves)
    except StopIteration as stop:
        verdict: Verdict = stop.value
        assert verdict.spent == given.making + sum(reached.values()) <= given.budget
        return verdict


def line(level: float, noise: float = 0.0, seed: int = 0):
    """A flat curve with a replicate's own offset, shared by all candidates but for a part."""

    def curve(replicate: int) -> list[float]:
        own = np.random.default_rng([seed, replicate]).normal() * noise
        return [level + own] * (HORIZON // EVERY + 1)

    return curve


def test_a_clear_winner_is_separated_at_once():
    levels = {"a": 2.0, "b": 2.5, "c": 1.5}
    verdict = played(lambda n, r: line(levels[n])(r), list(levels), rules(10_000))
    assert verdict.order == ("c", "a", "b") and verdict.separated and verdict.lag == 16
    assert [(one.candidate, one.why) for one in verdict.left] == [("a", "separated"), ("b", "separated")]
    assert verdict.gap == pytest.approx(0.5)  # rounding
    assert verdict.spent == 3 * 16


def test_who_diverges_leaves_and_somebody_must_stay():
    lost = [math.inf] * (HORIZON // EVERY + 1)
    verdict = played(lambda n, r: lost if n == "a" else line(2.0)(r), ["a", "b"], rules(10_000))
    assert verdict.order == ("b", "a") and verdict.left[0].why == "diverged"
    with pytest.raises(UserError, match="every candidate diverged by lag 16"):
        played(lambda n, r: lost, ["a", "b"], rules(10_000))


def test_where_all_that_stand_diverge_the_last_that_left_is_chosen():
    """One leaves far behind, and the other two diverge later."""
    late = [1.0] * 3 + [math.inf] * (HORIZON // EVERY - 2)
    tied = lambda lag: Outlook(1.0, 0.05 if lag < HORIZON else 0.0, 0.0)  # noqa: E731
    verdict = played(lambda n, r: line(2.0)(r) if n == "c" else late, list("abc"), rules(10_000), tied)
    assert verdict.order[0] == "c" and verdict.gap is None and not verdict.separated
    assert [(one.candidate, one.why) for one in verdict.left] == [
        ("c", "separated"),
        ("a", "diverged"),
        ("b", "diverged"),
    ]


def test_drift_keeps_who_may_still_win():
    """The late winner is behind at the first rung by less than the order still changes."""

    def curve(name: str, replicate: int) -> list[float]:
        steps = range(0, HORIZON + 1, EVERY)
        return [2.0 if name == "early" else 2.1 - 0.02 * step / EVERY for step in steps]

    wary = played(curve, ["early", "late"], rules(10_000), lambda lag: Outlook(1.0, 0.1 if lag < HORIZON else 0.0, 0.0))
    assert wary.order[0] == "late" and wary.lag == HORIZON and wary.separated
    rash = played(curve, ["early", "late"], rules(10_000))
    assert rash.order[0] == "early" and rash.lag == 16


def test_noise_asks_for_replicates():
    noisy = {"a": line(2.0, 0.3, 1), "b": line(2.02, 0.3, 2)}
    verdict = played(lambda n, r: noisy[n](r), list(noisy), rules(2_000), lambda lag: Outlook(1.0, 0.0, 0.3))
    assert verdict.replicates == 8 and not verdict.separated


def test_a_small_budget_takes_out_the_worse_half_and_says_so():
    levels = {name: 2 + 0.01 * i for i, name in enumerate("abcdefgh")}
    unsure = played(
        lambda n, r: line(levels[n])(r),
        list(levels),
        rules(8 * 16 + 200),
        lambda lag: Outlook(1.0, 0.5 * (lag < 128), 0.0),
    )
    assert unsure.order[0] == "a" and not unsure.separated
    assert {one.why for one in unsure.left} == {"budget"}


def test_who_leaves_the_numbers_is_out():
    def curve(name: str, replicate: int) -> list[float]:
        return [math.inf if name == "bad" and replicate == 1 else 2.0 + (name == "worse")] * (HORIZON // EVERY + 1)

    verdict = played(curve, ["bad", "good", "worse"], rules(5_000))
    assert verdict.order[0] == "good"
    assert {one.candidate: one.why for one in verdict.left} == {"bad": "diverged", "worse": "separated"}


def test_a_budget_too_small_is_refused_with_the_least():
    for making in (0, 100):
        least = least_budget(3, ladder(HORIZON, EVERY, 16), making)
        assert least == 3 * 16 + making
        with pytest.raises(UserError, match=f"{least - 1} steps") as refused:
            next(race("abc", rules(least - 1, making=making), lambda lag: Outlook(1.0, 0.0, 0.0)))
        assert f"give at least {least}" in refused.value.hint
        assert ("100 of which make them" in refused.value.hint) == bool(making)
        assert played(lambda n, r: line(2.0)(r), list("abc"), rules(least, making=making)).spent == least


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 9),
    st.integers(0, 3_000),
    st.integers(0, 200),
    st.integers(0, 10_000),
    st.floats(0, 0.2),
    st.floats(0, 0.2),
    st.floats(-0.2, 1.5),
)
def test_any_race_keeps_its_budget_and_names_everyone(
    count: int, more: int, making: int, seed: int, noise: float, drift: float, slope: float
):
    names = [f"c{i}" for i in range(count)]

    def curve(name: str, replicate: int) -> list[float]:
        rng = np.random.default_rng([seed, int(name[1:]), replicate])
        curve = 2 + np.cumsum(rng.normal(size=HORIZON // EVERY + 1)) * noise
        lost = 0.02 if name != "c0" else 0.0  # somebody must stay
        return [math.inf if rng.random() < lost else float(x) for x in curve]

    given = rules(least_budget(count, ladder(HORIZON, EVERY, 16), making) + more, making=making)
    outlooks = lambda lag: Outlook(slope, drift if lag < HORIZON else 0.0, noise)  # noqa: E731
    verdict = played(curve, names, given, outlooks)
    assert sorted(verdict.order) == names
    assert verdict == played(curve, names[::-1], given, outlooks)


def test_the_ladder_ends_at_the_horizon():
    assert ladder(128, 8, 16) == (16, 32, 64, 128)
    assert ladder(100, 8, 20) == (16, 32, 64, 96)
    assert ladder(8, 8, 16) == (8,)


def test_the_fit_finds_what_was_put_in():
    rng = np.random.default_rng(0)
    now, early, rest = rng.normal(size=(3, 4000))
    late = early + 0.4 * now + 0.05 * rest
    found = [Difference((n,), (e,), (f,)) for n, e, f in zip(now.tolist(), early.tolist(), late.tolist(), strict=True)]
    slope, drift, noise = fitted(found)
    # 4,000 draws: a slope is sure to 0.05 / 63, a deviation to 1 in 89
    assert slope == pytest.approx(0.4, abs=0.005) and drift == pytest.approx(0.05, rel=0.05) and noise == 0
    apart = [Difference(f.now * 2, (f.early[0] - 0.1, f.early[0] + 0.1), f.late * 2) for f in found]
    assert fitted(apart) == pytest.approx((slope, drift, 0.1 * 2**0.5))  # rounding


def test_the_published_table_is_read_between_its_rows():
    table = published()
    row = table["regimes"]["stochastic"][1]
    lag = round(row["ratio"] * 4096)
    assert outlook(table, "stochastic", lag, 4096) == pytest.approx(  # rounding
        (row["slope"], row["drift"], row["noise"])
    )  # rounding
    assert outlook(table, "deterministic", 128, 128)[:2] == (1.0, 0.0)
    assert outlook(table, "of_another", 16, 128).drift == max(
        outlook(table, name, 16, 128).drift for name in table["regimes"]
    )


def test_under_the_least_lag_that_was_measured_the_drift_grows():
    """By a fixed amount for each halving, and by no less than between any two rows of the table."""
    table = published()
    for regime, rows in table["regimes"].items():
        assert measured_from(table, regime, 2000) == 125 and rows[0]["ratio"] == 1 / 16
        least, *below = (outlook(table, regime, lag, 4096) for lag in (256, 128, 64, 32))
        assert least == Outlook(*(rows[0][name] for name in Outlook._fields))
        assert {(one.slope, one.noise) for one in below} == {(least.slope, least.noise)}
        steps = [b.drift - a.drift for a, b in itertools.pairwise((least, *below))]
        assert steps == pytest.approx([steps[0]] * 3)  # rounding
        assert steps[0] == pytest.approx(  # rounding
            max(a["drift"] - b["drift"] for a, b in itertools.pairwise([*rows, {"drift": 0.0}]))
        )
        assert steps[0] > 0
        shorter = {
            "regimes": {regime: rows[1:]}
        }  # the least row left out, the rule says no less than was measured there
        assert outlook(shorter, regime, 256, 4096).drift >= least.drift
    assert measured_from(table, "of_another", 2000) == 125


def budgeted() -> tuple[Verdict, Rules]:
    """c and d leave for the budget after the first rung, and b is separated from a at the next."""
    levels = {"a": 2.0, "b": 2.05, "c": 2.1, "d": 2.11}
    given = rules(4 * 16 + 2 * 16)
    reach = lambda lag: Outlook(1.0, 1.0 if lag == 16 else 0.001, 0.0)  # noqa: E731
    return played(lambda n, r: line(levels[n])(r), list(levels), given, reach), given


def test_who_left_for_the_budget_is_not_separated_and_the_runner_up_is():
    verdict, given = budgeted()
    assert verdict.order == ("a", "b", "c", "d") and not verdict.separated
    assert [(one.candidate, one.why, one.request) for one in verdict.left] == [
        ("c", "budget", 1), ("d", "budget", 1), ("b", "separated", 2)
    ]  # fmt: skip
    assert verdict.gap is not None and verdict.reach is not None and verdict.gap > verdict.reach
    spec = Selection(regimes=("stochastic",), eval_every=EVERY, budget=given.budget, rungs=given.rungs,
                     outlooks=(1.0, 0.0, 0.0) * len(given.rungs))  # fmt: skip
    said = _uncertain(spec, verdict)
    assert not any("either may be the better one" in sentence for sentence in said)
    assert any(s.startswith("c, d left because the budget did not take") for s in said)


def test_the_last_that_left_is_the_runner_up_at_one_lag_too():
    """At the first lag c leaves after one replicate, and b after more of them, which put it further behind than c."""

    def curve(name: str, replicate: int) -> list[float]:
        behind = {"a": 0.0, "b": 0.6 if replicate else 0.05, "c": 0.3}
        return [2.0 + behind[name]] * (HORIZON // EVERY + 1)

    verdict = played(curve, list("abc"), rules(10_000), lambda lag: Outlook(1.0, 0.0, 0.1))
    c, b = verdict.left
    assert (c.candidate, b.candidate, c.why, b.why, c.lag, b.lag) == ("c", "b", "separated", "separated", 16, 16)
    assert c.request == 1 < b.request == len(verdict.requests) and c.behind < b.behind
    assert verdict.order == ("a", "b", "c") and verdict.gap == b.behind and verdict.reach == b.reach


def test_the_lags_that_nothing_is_known_of_are_named():
    rungs, table = ladder(2000, 8, 16), published()
    seen = tuple(x for lag in rungs for x in outlook(table, "stochastic", lag, 2000))
    spec = Selection(regimes=("stochastic",), rungs=rungs, outlooks=seen, trust=tuple(table["roots"]))
    said = [s for s in _uncertain(spec, budgeted()[0]) if "nothing was measured" in s]
    assert len(said) == 1 and said[0].startswith("Under lag 125 of 2000") and "16, 32, 64 can" in said[0]
    other = spec.replace(trust=("0" * 64,))
    assert not any("nothing was measured" in s for s in _uncertain(other, budgeted()[0]))


@pytest.mark.parametrize(("first", "every"), [(50, 50), (50, 10), (32, 32)])
def test_any_grid_that_its_own_lags_fit(first: int, every: int):
    """A study's lags, which a selection has not, are no bound; its own are."""
    spec = Selection(operators=("exact_copy",), regimes=("stochastic",), budget=400, eval_every=every)
    found = planned(spec, horizon=1600, first=first)
    assert found.rungs[0] == first and found.rungs[-1] == 1600
    assert read_spec(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(UserError, match="are no multiples of eval_every"):
        found.replace(eval_every=40 if first == 50 else 48)
    with pytest.raises(UserError, match="probe_lag 16 is no multiple of eval_every"):
        StudySpec(eval_every=every)


def test_auc_is_what_a_race_compares():
    verdict = played(lambda n, r: [2.0 if n == "a" else 3.0] * 17, ["a", "b"], rules(64))
    assert verdict.gap == auc([0, 128], [3.0, 3.0]) - auc([0, 128], [2.0, 2.0])
