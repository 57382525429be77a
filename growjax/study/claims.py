"""The paper's six claims (arXiv 2604.04281), each decided by a rule that was written before the study was run.

Claims are about the paper's four families, in regimes where every candidate goes on. Everything is paired over
replicates at a place (a source state, a regime, a lag), with intervals at 95 % adjusted for all comparisons of the
claim; a verdict is of the very states that the study has. A claim that asks for a regime, a source or a candidate that
was not run may fail without it, and does not hold; `missing` says what. The interval reported with a claim's effect is
over seeds, the independent unit of anything beyond those states, and n is the number of seeds. Rules, in `CLAIMS`:

1. `holds` where exact copy is first at lag 16 in every regime and source: every other family's AUC minus its own lies
   above 0. `fails` where at one place a family's AUC lies below its own. Effect: the rival next to it minus exact copy.
2. The same of stochastic continuation at lag 128, for the sources that the paper names (the study's, where none of
   them is there).
3. The same of structured non-clone in deterministic continuation at lag 128.
4. Tau-b between escape in weights at the probe's end (more is better) and AUC. `holds` where its interval lies above 0
   in deterministic continuation from every source, and below 0 at lag 16 in both regimes and in stochastic
   continuation; `fails` where one interval lies on the other side. Tau of four families takes few values, on which two
   replicates agree by chance, so its deviation is taken as no less than that of orders that have nothing to do with
   each other. Effect: tau, above 0 where it speaks for the claim.
5. `holds` where every selector taken before the first step fails somewhere: at some source and regime a family beats
   its choice at lag 128 (a choice among ties is a draw). `fails` where one of them chooses, at every source and
   regime, a single family that beats all others. Effect: AUC of zero-step KL's choice minus the best other family's.
6. `holds` where every other selector loses more AUC at lag 128 than probe KL (against the source as it was), averaged
   over sources and regimes replicate by replicate, or always chooses alike. `fails` where one loses less. Effect: the
   loss of the nearest rival that chooses otherwise minus its own.

Beside each stand the same question at other lags, at other learning rates (where the study has them), and with the
whole pool of warm starts in place of the four families; they decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, cast

from growjax.errors import require
from growjax.record.checksums import readable
from growjax.record.receipt_types import Receipt
from growjax.record.types import Tree
from growjax.schema import Record
from growjax.study.deciding import OPEN, Decided, Seen, Verdict, all_of, none_of, over_seeds
from growjax.study.evidence import Evidence, evidence_of
from growjax.study.questions import first, lacking, places_of, points, rivalry, trusted, universal, with_missing
from growjax.study.receipt import check_whole, spec_of
from growjax.study.rows import Summary
from growjax.study.spec import PAPER_OPERATORS
from growjax.study.summary import summarise

NAMED_SOURCES = ("seed0-step1000", "seed0-step2000", "seed1-step2000")
"""Of which the paper claims stochastic continuation."""

PROBE_KL, ZERO_KL = "probe KL to start", "zero-step KL"
ESCAPES = ("least escape in weights", "least escape in updates", "least escape in activations")

Names = Mapping[str, str]
"""The candidate that each family is."""

Asked = Callable[[Evidence, Names, int], Decided]
"""Of evidence, candidates and the long continuation's lag."""


class Claim(NamedTuple):
    """One of the six."""

    number: int
    title: str
    unit: str
    rule: str
    lag: Literal["probe", "continuation"]
    """Which of the study's lags it is about: `probe` or `continuation`."""
    ask: Asked
    others: Callable[[Evidence], Mapping[str, Asked]] = lambda given: {}
    """The same question of other measures, or of one rival alone."""
    both_lags: bool = False
    """Whether it sets the probe's lag against the other, so that it cannot be asked of the probe's alone."""


def _first(subject: str, *regimes: str, sources: tuple[str, ...] = ()) -> Asked:
    def ask(given: Evidence, names: Names, lag: int) -> Decided:
        return first(given, subject, names, places_of(given, regimes or given.regimes, [lag], sources))

    return ask


def _escape(selector: str) -> Asked:
    def ask(given: Evidence, names: Names, lag: int) -> Decided:
        long = places_of(given, ["deterministic"], [lag])
        short = places_of(given, ["deterministic", "stochastic"], given.lags[:1])
        other = list(dict.fromkeys([*short, *places_of(given, ["stochastic"], [lag])]))
        comparisons = max(1, len(long) + len(other))
        helps = points(given, selector, names, long, comparisons, to=-1)
        misleads = points(given, selector, names, other, comparisons, to=1)
        return with_missing(given, names, [*long, *other], [*helps, *misleads])

    return ask


def _no_universal(given: Evidence, names: Names, lag: int) -> Decided:
    places = places_of(given, given.regimes, [lag])
    chosen = {name: trusted(given, name, names, places) for name in given.zero_step}
    comparisons = max(1, sum(len(one.margins) for found in chosen.values() for one in found))
    found = {name: with_missing(given, names, places, universal(own, comparisons)) for name, own in chosen.items()}
    shown = found.get(ZERO_KL) or next(iter(found.values()), with_missing(given, names, places, []))
    missing = tuple(dict.fromkeys(words for one in found.values() for words in one.missing))
    rows = [_turned(seen) for seen in shown.places]
    return over_seeds(none_of(one.verdict for one in found.values()), rows, given.seeds, missing)


def _turned(seen: Seen) -> Seen:
    """What speaks against a selector speaks for the claim."""
    effect, low, high = (None if x is None else -x for x in (seen.effect, seen.high, seen.low))
    return seen._replace(effect=effect, low=low, high=high, verdict=none_of([seen.verdict]))


def _most_robust(selector: str, *against: str) -> Asked:
    """Of a selector beside every other, or beside those that are named, by the count of all."""

    def ask(given: Evidence, names: Names, lag: int) -> Decided:
        places, others = places_of(given, given.regimes, [lag]), [n for n in given.selectors if n != selector]
        found = [rivalry(given, selector, rival, names, places, len(others)) for rival in against or others]
        known = [one for one in found if one is not None]
        differ = [one for one in known if not one.alike] or known  # who chooses alike loses as much, and says nothing
        nearest = min(differ, key=lambda one: (math.inf if one.effect is None else one.effect, one.rival), default=None)
        rows = [seen._replace(what=f"{nearest.rival}: {seen.what}") for seen in nearest.places] if nearest else []
        lacks = [w for one in known for w in lacking(given, names, places, one.places)]
        if known:
            lacks += [f"the selector {n!r}" for n, one in zip(against or others, found, strict=True) if one is None]
        else:
            lacks = lacking(given, names, places, [])
        missing = tuple(dict.fromkeys(lacks))
        verdicts: list[Verdict] = [*(one.verdict for one in known), *([OPEN] if missing else [])]
        return over_seeds(all_of(verdicts), rows, given.seeds, missing)

    return ask


CLAIMS = (
    Claim(
        1, "exact copy is first in every short probe", "nats/token",
        "every other family's AUC minus exact copy's lies above 0 at the probe's lag, in every regime and source "
        "of the study",
        "probe", _first("exact_copy"),
    ),
    Claim(
        2, "exact copy is first in stochastic continuation", "nats/token",
        "the same at the continuation's lag in the stochastic regime, from the sources that the paper names, or from "
        "all of the study's where it has none of them",
        "continuation", _first("exact_copy", "stochastic", sources=NAMED_SOURCES),
    ),
    Claim(
        3, "structured non-clone is first in deterministic continuation", "nats/token",
        "every other family's AUC minus structured's lies above 0 at the continuation's lag, from every source",
        "continuation", _first("structured", "deterministic"),
    ),
    Claim(
        4, "early escape helps in long deterministic continuation, and misleads at short lag and under randomness",
        "tau-b",
        "more escape in weights goes with less AUC (tau-b) in deterministic continuation, and with more at the probe's "
        "lag and in stochastic continuation; over replicates tau-b is taken to deviate no less than that of chance "
        "orders",
        "continuation", _escape(ESCAPES[0]), lambda given: {name: _escape(name) for name in ESCAPES[1:]}, True,
    ),
    Claim(
        5, "keeping the function at step 0 is no universal selector", "nats/token",
        "the choice of each zero-step selector is beaten in some regime and source of the study; it fails where one "
        "selector's choice is first in all",
        "continuation", _no_universal,
    ),
    Claim(
        6, "probe KL is the most robust cheap selector", "nats/token",
        "every other selector loses more AUC, averaged over the study's sources and regimes, or always chooses alike",
        "continuation", _most_robust(PROBE_KL),
        lambda given: {
            "probe KL to continued source": _most_robust("probe KL to continued source"),
            **{f"against {name}": _most_robust(PROBE_KL, name) for name in given.selectors if name != PROBE_KL},
        },
    ),
)  # fmt: skip


def decide(given: Evidence) -> list[Record]:
    """Every claim decided, as plain data: number, title, rule, unit, verdict, effect, low, high, n (seeds), the places,
    how many replicates they have, what is missing, and the same question asked otherwise (`by`)."""
    own = given.at_rate(1)
    lags = dict(zip(("probe", "continuation", "long"), given.lags, strict=False))
    found = []
    for claim in CLAIMS:
        lag = lags[claim.lag]
        asked = [other for other in given.lags if other != lag and not (claim.both_lags and other == lags["probe"])]
        by = [_row("lag", str(other), claim.ask(given, own, other)) for other in asked]
        by += [_row("learning rate", f"{rate:g}", claim.ask(given, given.at_rate(rate), lag)) for rate in given.rates]
        everyone = {name: name for name in given.pool}
        by += [_row("candidates", "the whole pool", claim.ask(given, everyone, lag))] if everyone != own else []
        by += [_row("measure", name, ask(given, own, lag)) for name, ask in claim.others(given).items()]
        decided = claim.ask(given, own, lag)
        found.append({
            "claim": claim.number,
            "title": claim.title,
            "rule": claim.rule,
            "unit": claim.unit,
            "lag": lag,
            **_plain(decided),
            "by": by,
        })  # fmt: skip
    return cast("list[Record]", readable(found))


def _plain(decided: Decided) -> Record:
    replicates = sorted({seen.n for seen in decided.places})
    return {**decided._asdict(), "places": [seen._asdict() for seen in decided.places], "replicates": replicates}


def _row(by: str, value: str, decided: Decided) -> Record:
    plain = _plain(decided)
    return {"by": by, "value": value, **{name: own for name, own in plain.items() if name != "places"}}


def claims_of(receipt: Receipt) -> list[Record]:
    """The claims as they come out in a run, from its receipt alone. Raises `UserError` where one of its cells is
    missing."""
    spec = spec_of(receipt)
    check_whole(receipt, spec)
    require(len(spec.families) > 1, "the run has fewer than two of the paper's families",
            f"claims are about {', '.join(PAPER_OPERATORS)}")  # fmt: skip
    return decide(evidence_of(receipt, spec))


def with_claims(receipt: Receipt) -> Summary:
    """The summary of a run, with the claims where it can decide any: what a report is made of."""
    few = len(spec_of(receipt).families) < 2
    return {**summarise(receipt), "claims": cast("list[Tree]", [] if few else claims_of(receipt))}
