"""What the claims ask of the evidence: who is first, where a measure points, what a selector loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from growjax.study.deciding import (
    OPEN,
    Decided,
    Seen,
    Verdict,
    all_of,
    difference,
    interval,
    over_seeds,
    sign,
)
from growjax.study.evidence import Evidence
from growjax.study.ranking import kendall_tau_b, mean, tied

Place = tuple[str, str, int]
"""(source, regime, lag)"""


def places_of(given: Evidence, regimes: Sequence[str], lags: Sequence[int], sources: Sequence[str] = ()) -> list[Place]:
    """All places of some regimes and lags; of every source where none is named."""
    named = [s for s in sources if s in given.seeds] or list(given.seeds)
    return [(s, r, lag) for lag in lags for r in regimes if r in given.regimes for s in named]


def first(given: Evidence, subject: str, names: Mapping[str, str], places: Sequence[Place]) -> Decided:
    """Whether a family is first at every place: its AUC paired against every other's.

    At a place it `holds` where every rival's AUC minus its own has an interval above 0, and `fails` where one has an
    interval below; intervals are adjusted for all rivals at all places. The effect is that of the rival next to it.
    """
    found = []
    comparisons = max(1, len(places) * (len(names) - 1))
    for source, regime, lag in places:
        values = given.outcomes(source, regime, lag, names.values())
        own = values.pop(names[subject], None) if subject in names else None
        if own is None or not values:
            continue
        margins = {name: difference(rival, own) for name, rival in values.items()}
        ends = {name: interval(margin, comparisons) for name, margin in margins.items()}
        nearest = min(margins, key=lambda name: (mean(margins[name]), name))
        verdict = all_of(sign(*ends[name]) for name in ends)
        found.append(Seen(source, regime, lag, nearest, mean(margins[nearest]), *ends[nearest], len(own), verdict))
    return over_seeds(all_of(seen.verdict for seen in found), found, given.seeds)


def points(
    given: Evidence, selector: str, names: Mapping[str, str], places: Sequence[Place], *, to: float
) -> list[Seen]:
    """Kendall's tau-b, at each place and in each replicate, of a selector's order with the order by AUC, times `to`: 1
    where the least score should be best, -1 where the largest should.

    A place where the selector has no score, or ties them all, is left out.
    """
    found = []
    for source, regime, lag in places:
        values = given.outcomes(source, regime, lag, names.values())
        order = sorted(values)
        scores = given.chosen(selector, source, regime, order)
        if scores is None or len(order) < 2:
            continue
        n = len(values[order[0]])
        taus = [kendall_tau_b([scores[k] for k in order], [values[k][r] for k in order]) for r in range(n)]
        known = [to * tau for tau in taus if tau is not None]
        if known:
            ends = interval(known, max(1, len(places)))
            found.append(Seen(source, regime, lag, selector, mean(known), *ends, len(known), sign(*ends)))
    return found


class Pick(NamedTuple):
    """What trusting a selector gives at a place."""

    chosen: tuple[str, ...]
    """More than one where scores tie: the choice is then a draw."""
    auc: tuple[float, ...]
    """Of the choice [replicates], the mean over what ties."""
    best: str
    """By mean AUC."""


def pick(given: Evidence, selector: str, names: Mapping[str, str], place: Place) -> Pick | None:
    """The choice; None where the selector has no score of a candidate that goes on there."""
    source, regime, lag = place
    values = given.outcomes(source, regime, lag, names.values())
    scores = given.chosen(selector, source, regime, sorted(values))
    if scores is None or len(values) < 2:
        return None
    least = min(scores.values())
    chosen = tuple(name for name in sorted(scores) if tied(scores[name], least))
    n = len(values[chosen[0]])
    own = tuple(mean(values[name][r] for name in chosen) for r in range(n))
    return Pick(chosen, own, min(values, key=lambda name: (mean(values[name]), name)))


def universal(given: Evidence, selector: str, names: Mapping[str, str], places: Sequence[Place]) -> Decided:
    """Whether what a selector chooses is first at every place.

    At a place it `fails` where a candidate beats the choice (the interval of the choice's AUC minus that candidate's
    lies above 0), and `holds` where the choice is one candidate that beats all others. The effect is what the choice
    is worse by than the best of the others, with its sign turned: below 0 it loses.
    """
    found = []
    comparisons = max(1, len(places) * (len(names) - 1))
    for place in places:
        made = pick(given, selector, names, place)
        if made is None:
            continue
        values = given.outcomes(*place, names.values())
        margins = {name: difference(rival, made.auc) for name, rival in values.items() if made.chosen != (name,)}
        ends = {name: interval(margin, comparisons) for name, margin in margins.items()}
        verdict = all_of(sign(*ends[name]) for name in ends)
        if len(made.chosen) > 1 and verdict == "holds":
            verdict = OPEN
        nearest = min(margins, key=lambda name: (mean(margins[name]), name))
        what = " or ".join(made.chosen)
        found.append(Seen(*place, what, mean(margins[nearest]), *ends[nearest], len(made.auc), verdict))
    return over_seeds(all_of(seen.verdict for seen in found), found, given.seeds)


class Rivalry(NamedTuple):
    """A selector beside a rival, over all places together."""

    rival: str
    verdict: Verdict
    """`holds` where the selector loses less, or both always choose alike; `fails` where the rival loses less."""
    effect: float
    """By how much less AUC the selector loses, mean over places."""
    low: float | None
    high: float | None
    n: int
    """Replicates."""
    places: tuple[Seen, ...]


def rivalry(
    given: Evidence, selector: str, rival: str, names: Mapping[str, str], places: Sequence[Place], comparisons: int
) -> Rivalry | None:
    """What the choices of a rival lose minus what the selector's own lose, averaged over places replicate by replicate
    (a replicate is the same randomness at every place); None where they have no place in common."""
    found, margins = [], []
    for place in places:
        own, other = pick(given, selector, names, place), pick(given, rival, names, place)
        if own is None or other is None:
            continue
        margin = difference(other.auc, own.auc)
        ends = interval(margin, comparisons)
        what = f"{' or '.join(other.chosen)} for {' or '.join(own.chosen)}"
        found.append(Seen(*place, what, mean(margin), *ends, len(margin), sign(*ends)))
        margins.append(margin)
    if not margins:
        return None
    n = min(map(len, margins))
    averaged = [mean(margin[r] for margin in margins) for r in range(n)]
    low, high = interval(averaged, comparisons)
    same = all(x == 0 for x in averaged)
    verdict: Verdict = "holds" if same else sign(low, high)
    return Rivalry(rival, verdict, mean(averaged), low, high, n, tuple(found))
