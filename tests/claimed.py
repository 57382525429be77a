"""Made-up evidence of which every claim's answer is known."""

from __future__ import annotations

import numpy as np

from growjax.study.claims import PROBE_KL, ZERO_KL, decide
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


def evidence(
    orders: dict, *, noise: float = 1e-4, chooses: dict | None = None, replicates: int = 8, seed: int = 0
) -> Evidence:
    """Families 0.01 nats apart in these orders at every source, with noise over replicates; escape grows with a
    family's place in `PAPER_OPERATORS`, and selectors choose who is named (zero-step KL exact copy, others the best of
    the continuation)."""
    rng, aucs, scores = np.random.default_rng(seed), {}, {}
    for (regime, lag), order in orders.items():
        for source in SEEDS:
            for place, name in enumerate(order):
                values = 2 + 0.01 * place + noise * rng.standard_normal(replicates)
                aucs[source, regime, lag, name] = tuple(map(float, values))
    for source in SEEDS:
        for regime in REGIMES:
            best = orders[regime, 128][0]
            chosen = {ZERO_KL: EXACT, PROBE_KL: "best", "probe loss": EXACT, **(chooses or {})}
            chosen = {selector: best if name == "best" else name for selector, name in chosen.items()}
            for place, name in enumerate(PAPER_OPERATORS):
                scores[ESCAPE, source, regime, name] = (float(place),)
                scores |= {(s, source, regime, name): (float(chosen[s] != name),) for s in SELECTORS if s != ESCAPE}
    return Evidence(SEEDS, REGIMES, (16, 128), PAPER_OPERATORS, PAPER_OPERATORS, aucs, SELECTORS, (ZERO_KL,), scores)


def verdicts(given: Evidence) -> list[str]:
    return [claim["verdict"] for claim in decide(given)]


def with_first(name: str, *places: tuple[str, int]) -> dict:
    """The orders as claimed, but for another first at some places."""
    moved = {place: (name, *(n for n in AS_CLAIMED[place] if n != name)) for place in places}
    return AS_CLAIMED | moved
