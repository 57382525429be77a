"""Each claim's rule on made-up evidence whose answer is known: it holds, it fails, and it is undecided."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import growjax

from growjax.report.claims import markdown
from growjax.study.claims import CLAIMS, PROBE_KL, ZERO_KL, decide
from growjax.study.evidence import Evidence
from growjax.study.spec import PAPER_OPERATORS

SEEDS = {"seed0-step1000": 0, "seed0-step2000": 0, "seed1-step1000": 1, "seed1-step2000": 1}
REGIMES = ("deterministic", "stochastic")
EXACT, PERTURBED, RESET, STRUCTURED = PAPER_OPERATORS
ESCAPE = "least escape in weights"
SELECTORS = (ZERO_KL, PROBE_KL, ESCAPE, "probe loss")

AS_CLAIMED = {
    ("deterministic", 16): (EXACT, PERTURBED, RESET, STRUCTURED),
    ("stochastic", 16): (EXACT, PERTURBED, RESET, STRUCTURED),
    ("deterministic", 128): (STRUCTURED, RESET, PERTURBED, EXACT),
    ("stochastic", 128): (EXACT, PERTURBED, RESET, STRUCTURED),
}
"""The order of the families by AUC, best first, where every one of the paper's first five claims holds."""


def evidence(orders: dict, *, noise: float = 1e-4, chooses: dict | None = None) -> Evidence:
    """Families 0.01 nats apart in these orders at every source, with noise of 8 replicates; escape grows with a
    family's place in `PAPER_OPERATORS`, and selectors choose who is named (zero-step KL exact copy, others the best of
    the continuation)."""
    rng, aucs, scores = np.random.default_rng(0), {}, {}
    for (regime, lag), order in orders.items():
        for source in SEEDS:
            for place, name in enumerate(order):
                values = 2 + 0.01 * place + noise * rng.standard_normal(8)
                aucs[source, regime, lag, name] = tuple(map(float, values))
    for source in SEEDS:
        for regime in REGIMES:
            best = orders[regime, 128][0]
            chosen = {ZERO_KL: EXACT, PROBE_KL: "best", "probe loss": EXACT, **(chooses or {})}
            chosen = {selector: best if name == "best" else name for selector, name in chosen.items()}
            for place, name in enumerate(PAPER_OPERATORS):
                scores[ESCAPE, source, regime, name] = float(place)
                scores |= {(s, source, regime, name): float(chosen[s] != name) for s in SELECTORS if s != ESCAPE}
    return Evidence(SEEDS, REGIMES, (16, 128), PAPER_OPERATORS, PAPER_OPERATORS, aucs, SELECTORS, (ZERO_KL,), scores)


def verdicts(given: Evidence) -> list[str]:
    return [claim["verdict"] for claim in decide(given)]


def with_first(name: str, *places: tuple[str, int]) -> dict:
    """The orders as claimed, but for another first at some places."""
    moved = {place: (name, *(n for n in AS_CLAIMED[place] if n != name)) for place in places}
    return AS_CLAIMED | moved


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


def test_no_claim_is_decided_by_noise():
    found = decide(evidence(AS_CLAIMED, noise=0.2))
    assert [claim["verdict"] for claim in found] == ["undecided"] * 6
    assert all(claim["low"] < claim["high"] for claim in found)


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
        k: 0.0 if k[0] == ZERO_KL else v for k, v in evidence(with_first(EXACT, ("deterministic", 128))).scores.items()
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
    assert all(rows["learning rate", "2"] == "holds" for rows in by[:3])
    assert by[5]["measure", "against probe loss"] == "holds"
    assert [claim["verdict"] for claim in found] == ["holds"] * 6
    text = markdown({"claims": found})
    assert all(f"| {claim.number} | {claim.title} | **holds** |" in text for claim in CLAIMS)


def test_from_a_run_and_from_its_receipt(smoke_run: Path, tmp_path: Path):
    documents = []
    (tmp_path / "receipt.json").write_bytes((smoke_run / "receipt.json").read_bytes())
    for path in (smoke_run, tmp_path / "receipt.json"):
        done = growjax("claims", str(path), "--json")
        assert done.code == 0, done.err
        documents.append(json.loads(done.out)["claims"])
    assert documents[0] == documents[1] and [claim["claim"] for claim in documents[0]] == [1, 2, 3, 4, 5, 6]
    assert (smoke_run / "report" / "claims.md").read_text() == markdown({"claims": documents[0]})
