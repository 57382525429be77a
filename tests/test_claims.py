"""Each claim's rule on made-up evidence whose answer is known: it holds, it fails, and it is undecided."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claimed import (
    AS_CLAIMED,
    ESCAPE,
    EXACT,
    PERTURBED,
    REGIMES,
    RESET,
    SEEDS,
    SELECTORS,
    STRUCTURED,
    evidence,
    verdicts,
    with_first,
)
from conftest import growjax

from growjax.report.claims import markdown
from growjax.study.claims import CLAIMS, PROBE_KL, ZERO_KL, decide
from growjax.study.evidence import GIVEN, Evidence, seeds_of
from growjax.study.ranking import chance_variance, kendall_tau_b, paired_interval
from growjax.study.spec import PAPER_OPERATORS


def test_every_claim_holds_where_it_should():
    found = decide(evidence(AS_CLAIMED))
    assert [claim["verdict"] for claim in found] == ["holds"] * 6
    for claim in found:
        assert claim["n"] == 2 and claim["effect"] > 0  # two seeds, though there are four states
    # the noise that `evidence` adds
    assert [claim["effect"] for claim in found[:3]] == pytest.approx([0.01] * 3, abs=2e-4)
    assert found[3]["effect"] == pytest.approx(1) and found[4]["effect"] == pytest.approx(0.01, abs=2e-4)


@pytest.mark.parametrize(
    ("number", "given"),
    [
        (1, evidence(with_first(PERTURBED, ("stochastic", 16)))),
        (2, evidence(with_first(RESET, ("stochastic", 128)))),
        (3, evidence(with_first(EXACT, ("deterministic", 128)))),
        (4, evidence(AS_CLAIMED | {("stochastic", 128): AS_CLAIMED["deterministic", 128]})),
        (5, evidence(with_first(EXACT, ("deterministic", 128)))),
        (6, evidence(AS_CLAIMED, chooses={PROBE_KL: RESET, "probe loss": "best"})),
    ],
)
def test_every_claim_fails_where_it_should(number: int, given: Evidence):
    claim = decide(given)[number - 1]
    assert claim["verdict"] == "fails"
    assert claim["places"] and (number == 4 or any(seen["verdict"] == "fails" for seen in claim["places"]))


@pytest.mark.parametrize("replicates", [1, 2, 3, 8])
def test_no_claim_is_decided_by_noise(replicates: int):
    """Each once in twenty times at most; more than four of twenty would be one chance in 390."""
    decided = [0] * 6
    for seed in range(20):
        found = decide(evidence(AS_CLAIMED, noise=0.2, replicates=replicates, seed=seed))
        decided = [n + (claim["verdict"] != "undecided") for n, claim in zip(decided, found, strict=True)]
        assert all(claim["low"] < claim["high"] for claim in found if claim["claim"] != 4)  # tau takes few values
    assert max(decided) <= 4 * (replicates > 1), decided


@pytest.mark.parametrize("replicates", [2, 3])
def test_agreement_of_few_replicates_is_no_evidence(replicates: int):
    """Taus that are all 1 in two or three replicates: the interval is as wide as chance orders make it."""
    claim = decide(evidence(AS_CLAIMED, noise=0, replicates=replicates))[3]
    assert claim["verdict"] == "undecided" and claim["effect"] == 1
    assert all(seen["low"] < 0 < seen["high"] for seen in claim["places"])


@pytest.mark.parametrize("ranks", [([0, 1, 2, 3], [0, 1, 2, 3]), ([0, 0, 1, 2], [0, 1, 1, 1]), ([0, 1], [0, 1])])
def test_the_deviation_of_chance_orders_is_that_of_all_orders(ranks: tuple[list[int], list[int]]):
    ours, theirs = (list(map(float, own)) for own in ranks)
    taus = [kendall_tau_b(ours, list(order)) for order in itertools.permutations(theirs)]
    assert chance_variance(ours, theirs) == pytest.approx(np.mean(np.square(np.array(taus, float))))  # rounding


def with_outcomes(given: Evidence, changed: dict[tuple[str, int], float], *, at: tuple[str, int]) -> Evidence:
    """With other AUCs of some candidates and replicates, in one regime and lag of every source."""
    aucs = {
        key: tuple(changed.get((key[3], r), x) for r, x in enumerate(values)) if key[1:3] == at else values
        for key, values in given.aucs.items()
    }
    return dataclasses.replace(given, aucs=aucs)


def test_a_replicate_that_diverged_leaves_its_place_undecided():
    """Both of them in different replicates, both in one, and one alone: no mean of infinities, and no decision."""
    lost = math.inf
    for changed in (
        {(EXACT, 1): lost, (PERTURBED, 0): lost},
        {(EXACT, 1): lost, (PERTURBED, 1): lost},
        {(EXACT, 1): lost},
    ):
        found = decide(with_outcomes(evidence(AS_CLAIMED), changed, at=("stochastic", 128)))
        assert [claim["verdict"] for claim in found[:3]] == ["holds", "undecided", "holds"]
        assert all((seen["effect"], seen["verdict"]) == (None, "undecided") for seen in found[1]["places"])
        assert found[1]["effect"] is None and found[1]["n"] == 0
    behind = decide(with_outcomes(evidence(AS_CLAIMED), {(RESET, 0): lost}, at=("stochastic", 128)))[1]
    assert behind["verdict"] == "undecided" and behind["effect"] == pytest.approx(0.01, abs=2e-4)  # that of another


def test_two_selectors_whose_choices_diverge_are_not_alike():
    """Nothing is known of how much more one of them loses; who chooses the same loses the same, whatever it is."""
    every = {(name, r): math.inf for name in (EXACT, RESET) for r in range(8)}
    for chosen, verdict in ((RESET, "undecided"), (EXACT, "holds")):
        given = evidence(AS_CLAIMED, chooses={PROBE_KL: EXACT, ZERO_KL: chosen, "probe loss": EXACT, "best": EXACT})
        scores = {key: score for key, score in given.scores.items() if key[0] != ESCAPE}
        for at in AS_CLAIMED:
            given = with_outcomes(given, every, at=at)
        asked = tuple(name for name in SELECTORS if name != ESCAPE)
        assert decide(dataclasses.replace(given, scores=scores, selectors=asked))[5]["verdict"] == verdict


def test_intervals_are_adjusted_for_every_comparison_of_the_claim():
    """The widths at one place, of claims 4 and 5, against the count of all that is tested."""
    given = evidence(AS_CLAIMED, noise=0.05)
    reach = {n: (s := decide(given)[n - 1]["places"][0])["high"] - s["low"] for n in (4, 5)}
    taus, margins = 4 * len(SEEDS), 3 * 2 * len(SEEDS)
    source = next(iter(SEEDS))
    values = [given.aucs[source, "deterministic", 128, name] for name in PAPER_OPERATORS]
    known = [kendall_tau_b([-3.0, -2.0, -1.0, 0.0][::-1], list(column)) for column in zip(*values, strict=True)]
    assert None not in known
    low, high = paired_interval([-float(x or 0) for x in known], taus, math.sqrt(13 / 54)) or (0, 0)
    assert reach[4] == pytest.approx(high - low)  # rounding
    nearest = decide(given)[4]["places"][0]["what"]
    assert nearest == EXACT
    widths = []
    for name in (PERTURBED, RESET, STRUCTURED):
        own = given.aucs[source, "deterministic", 128, name]
        differences = [a - b for a, b in zip(own, given.aucs[source, "deterministic", 128, EXACT], strict=True)]
        low, high = paired_interval(differences, margins) or (0, 0)
        widths.append(high - low)
    assert any(reach[5] == pytest.approx(width) for width in widths)  # rounding
    both = dataclasses.replace(given, zero_step=(ZERO_KL, "probe loss"))
    wider = decide(both)[4]["places"][0]
    assert wider["high"] - wider["low"] > reach[5]


def test_what_was_not_run_is_said_and_holds_nowhere():
    """A study of one regime alone; a state that the paper names left out; a family that did not go on."""
    given = evidence(AS_CLAIMED)
    alone = {key: values for key, values in given.aucs.items() if key[1] == "deterministic"}
    found = decide(dataclasses.replace(given, regimes=("deterministic",), aucs=alone))
    assert [claim["verdict"] for claim in found[:4]] == ["holds", "undecided", "holds", "undecided"]
    assert [claim["missing"] for claim in found[:4]] == [[], ["the stochastic regime"], [], ["the stochastic regime"]]
    assert "(no evidence of the stochastic regime)" in markdown({"claims": found})
    worse = {key: tuple(-(x or 0.0) for x in own) if key[0] == ESCAPE else own for key, own in given.scores.items()}
    assert (
        decide(dataclasses.replace(given, regimes=("deterministic",), aucs=alone, scores=worse))[3]["verdict"]
        == "fails"
    )
    fewer = {key: values for key, values in given.aucs.items() if key[0] != "seed1-step2000"}
    seeds = {source: seed for source, seed in SEEDS.items() if source != "seed1-step2000"}
    claim = decide(dataclasses.replace(given, aucs=fewer, seeds=seeds))[1]
    assert claim["verdict"] == "undecided" and claim["missing"] == ["seed1-step2000 in stochastic at lag 128"]
    gone = {k: v for k, v in given.aucs.items() if (k[1], k[3]) != ("stochastic", RESET) or k[2] != 128}
    claim = decide(dataclasses.replace(given, aucs=gone))[1]
    assert claim["verdict"] == "undecided" and len(claim["missing"]) == 3


def test_families_and_selectors_that_the_study_lacks_are_missing():
    """A study of three families, or one that never took a selector, decides no claim over all of them."""
    given = evidence(AS_CLAIMED)
    three = {key: values for key, values in given.aucs.items() if key[3] != RESET}
    found = decide(dataclasses.replace(given, families=(EXACT, PERTURBED, STRUCTURED), aucs=three))
    assert [claim["verdict"] for claim in found[:4]] == ["undecided"] * 4
    assert all(claim["missing"] == [f"the candidate {RESET}"] for claim in found)
    worse = {key: tuple(x + 1 for x in values) if key[3] == EXACT else values for key, values in three.items()}
    assert decide(dataclasses.replace(given, aucs=worse))[0]["verdict"] == "fails"  # a rival that is there is ahead
    more = decide(dataclasses.replace(given, selectors=(*SELECTORS, "never taken")))[5]
    assert more["verdict"] == "undecided" and more["missing"] == ["the selector 'never taken'"]


def test_scores_are_of_the_replicates_that_outcomes_are_of():
    """Two candidates whose order every replicate agrees on, and a third replicate that lifts whoever has it."""
    given = evidence(AS_CLAIMED)
    places = [(source, regime) for source in SEEDS for regime in REGIMES]
    better, worse = (0.1, 0.2, 9.0), (0.2, 0.3)
    seen = {("probe loss", *place, name): worse for place in places for name in PAPER_OPERATORS}
    seen |= {("probe loss", *place, EXACT): better for place in places}
    given = dataclasses.replace(given, scores={**given.scores, **seen})
    scores = given.chosen("probe loss", *places[0], PAPER_OPERATORS)
    assert scores is not None and scores[EXACT] == pytest.approx(0.15)  # rounding
    assert scores[RESET] == pytest.approx(0.25)  # rounding


def test_states_that_were_not_trained_here_are_no_independent_runs():
    """A receipt does not say whether two of them come from one training; seeds that go on from one are of it too."""
    cells: Any = [{"id": "d", "kind": "data", "parents": []}]
    cells += [{"id": f"g{k}", "kind": "given", "parents": ["d"]} for k in range(2)]
    cells += [{"id": "s0", "kind": "source", "parents": ["g0"], "parameters": {"seed": 5}}]
    cells += [{"id": "s1", "kind": "source", "parents": ["d"], "parameters": {"seed": 7}}]
    cells += [{"id": f"c{p}", "kind": "candidate", "parents": [p], "source": p} for p in ("g0", "g1", "s0", "s1")]
    assert seeds_of(cells) == {"g0": GIVEN, "g1": GIVEN, "s0": GIVEN, "s1": 7}


def test_one_state_decides_for_no_other():
    """A rival ahead at one state refutes; a state left out is not missed by what is asked of others."""
    given = evidence(AS_CLAIMED)
    worse = tuple(x + 0.05 for x in given.aucs["seed1-step1000", "stochastic", 128, EXACT])
    moved = dataclasses.replace(given, aucs={**given.aucs, ("seed1-step1000", "stochastic", 128, EXACT): worse})
    assert verdicts(moved)[1] == "holds"  # the paper does not name that state
    other = dataclasses.replace(given, aucs={**given.aucs, ("seed0-step1000", "stochastic", 128, EXACT): worse})
    assert verdicts(other)[1] == "fails"


def test_ties_and_divergence():
    """Who diverged everywhere is behind for sure; equal curves order nobody; a choice among ties is a draw."""
    given = evidence(AS_CLAIMED)
    lost = {key: (float("inf"),) * 8 if key[3] == RESET else values for key, values in given.aucs.items()}
    assert verdicts(dataclasses.replace(given, aucs=lost))[:3] == ["holds"] * 3
    same = {key: given.aucs[(*key[:3], EXACT)] if key[3] == PERTURBED else v for key, v in given.aucs.items()}
    assert verdicts(dataclasses.replace(given, aucs=same))[:2] == ["undecided"] * 2
    drawn = {
        k: (0.0,) if k[0] == ZERO_KL else v
        for k, v in evidence(with_first(EXACT, ("deterministic", 128))).scores.items()
    }
    given = dataclasses.replace(evidence(with_first(EXACT, ("deterministic", 128))), scores=drawn)
    assert verdicts(given)[4] == "holds"


def test_nothing_is_decided_of_what_was_not_run():
    given = evidence(AS_CLAIMED)
    assert verdicts(dataclasses.replace(given, aucs={}, scores={})) == ["undecided"] * 6


def test_other_lags_rates_and_measures_decide_nothing():
    given = evidence(AS_CLAIMED)
    fast = {f"{name}+rate:times=2.0" for name in PAPER_OPERATORS}
    twice = {(*key[:3], f"{key[3]}+rate:times=2.0"): values for key, values in given.aucs.items()}
    rates = {2.0: {name.partition("+")[0]: name for name in fast}}
    found = decide(dataclasses.replace(given, aucs={**given.aucs, **twice}, rates=rates))
    by = [{(row["by"], row["value"]): row["verdict"] for row in claim["by"]} for claim in found]
    assert by[0]["lag", "128"] == "fails" and by[2]["lag", "16"] == "fails"
    assert not any(asked == "lag" for asked, _ in by[3])  # it sets one lag against the other
    assert all(rows["learning rate", "2"] == "holds" for rows in by[:3])
    assert by[5]["measure", "against probe loss"] == "holds"
    assert [claim["verdict"] for claim in found] == ["holds"] * 6
    text = markdown({"claims": found})
    assert all(f"| {claim.number} | {claim.title} | **holds** |" in text for claim in CLAIMS)


def test_what_is_asked_otherwise_says_what_it_rests_on():
    """Three replicates at another rate, and none of one regime there."""
    given, slow = evidence(AS_CLAIMED), "+rate:times=0.5"
    half = {(*k[:3], k[3] + slow): v[:3] for k, v in given.aucs.items() if k[1] == "deterministic"}
    rates = {0.5: {name: name + slow for name in PAPER_OPERATORS}}
    claim = decide(dataclasses.replace(given, aucs={**given.aucs, **half}, rates=rates))[0]
    row = next(row for row in claim["by"] if row["by"] == "learning rate")
    assert claim["replicates"] == [8] and not claim["missing"]
    assert row["replicates"] == [3] and row["missing"][0] == "seed0-step1000 in stochastic at lag 16"
    assert "| 3 (none of seed0-step1000 in stochastic at lag 16, " in markdown({"claims": [claim]})


def test_a_rival_that_chooses_alike_is_not_the_nearest():
    """It loses as much; what the claim reports is the nearest of those that choose otherwise."""
    alike = decide(evidence(AS_CLAIMED, chooses={"probe loss": "best"}))[5]
    assert alike["verdict"] == "holds"
    assert not any(seen["what"].startswith("probe loss") for seen in alike["places"])
    assert alike["effect"] == pytest.approx(0.015, abs=2e-4)  # the noise; 0.03 in one regime, nothing in the other


def test_from_a_run_and_from_its_receipt(smoke_run: Path, tmp_path: Path):
    documents = []
    (tmp_path / "receipt.json").write_bytes((smoke_run / "receipt.json").read_bytes())
    for path in (smoke_run, tmp_path / "receipt.json"):
        done = growjax("claims", str(path), "--json")
        assert done.code == 0, done.err
        documents.append(json.loads(done.out)["claims"])
    assert documents[0] == documents[1] and [claim["claim"] for claim in documents[0]] == [1, 2, 3, 4, 5, 6]
    assert (smoke_run / "report" / "claims.md").read_text() == markdown({"claims": documents[0]})
