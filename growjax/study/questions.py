"""What the claims ask of the evidence: who is first, where a measure points, what a selector loses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from growjax.study.deciding import (
    OPEN,
    Decided,
    Seen,
    Verdict,
    all_of,
    average,
    difference,
    effect_of,
    interval,
    over_seeds,
    sign,
)
from growjax.study.evidence import Evidence
from growjax.study.ranking import chance_variance, kendall_tau_b, lowest, mean

Place = tuple[str, str, int]
"""(source, regime, lag)"""


def places_of(given: Evidence, regimes: Sequence[str], lags: Sequence[int], sources: Sequence[str] = ()) -> list[Place]:
    """All places of some regimes and lags, those that were not run included; of every source where none that is named
    is there."""
    named = sources if any(s in given.seeds for s in sources) else list(given.seeds)
    return [(s, r, lag) for lag in lags for r in regimes for s in named]


SHOWN = 3
"""Places without evidence that are named one by one."""


def lacking(given: Evidence, names: Mapping[str, str], places: Sequence[Place], found: Sequence[Seen]) -> list[str]:
    """What is missing, in words: candidates of no outcome anywhere, and places at which nothing was found or another
    candidate has none."""
    ran = {name for *_, name in given.aucs}
    never = [name for name in names.values() if name not in ran]
    seen = {(one.source, one.regime, one.lag) for one in found}
    there = len(names) - len(never)
    without = [p for p in places if p not in seen or len(given.outcomes(*p, names.values())) < there]
    words = dict.fromkeys(
        f"the {regime} regime" if regime not in given.regimes else f"{source} in {regime} at lag {lag}"
        for source, regime, lag in without
    )
    more = [f"{len(words) - SHOWN} more"] if len(words) > SHOWN else []
    return [*(f"the candidate {name}" for name in never if given.aucs), *list(words)[:SHOWN], *more]


def _nearest(margins: Mapping[str, Sequence[float]]) -> str:
    """Whose margin is least; one that is not known comes last."""
    effects = {name: effect_of(margin) for name, margin in margins.items()}
    return min(effects, key=lambda name: (math.inf if (effect := effects[name]) is None else effect, name))


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
        nearest = _nearest(margins)
        verdict = all_of(sign(*ends[name]) for name in ends)
        effect = effect_of(margins[nearest])
        found.append(Seen(source, regime, lag, nearest, effect, *ends[nearest], len(own), verdict))
    return with_missing(given, names, places, found)


def with_missing(given: Evidence, names: Mapping[str, str], places: Sequence[Place], found: Sequence[Seen]) -> Decided:
    """What holds at every place; where something is missing it may fail, and does not hold."""
    missing = tuple(lacking(given, names, places, found))
    verdicts: list[Verdict] = [*(seen.verdict for seen in found), *([OPEN] if missing else [])]
    return over_seeds(all_of(verdicts), found, given.seeds, missing)


def points(
    given: Evidence,
    selector: str,
    names: Mapping[str, str],
    places: Sequence[Place],
    comparisons: int,
    *,
    to: float,
) -> list[Seen]:
    """Kendall's tau-b, at each place and in each replicate, of a selector's order with the order by AUC, times `to`: 1
    where the least score should be best, -1 where the largest should.

    Tau of a few candidates takes few values, and replicates may agree by chance. So its deviation is taken as no less
    than that of orders that have nothing to do with each other. A place where the selector has no score, or ties them
    all, is left out.
    """
    found = []
    for source, regime, lag in places:
        values = given.outcomes(source, regime, lag, names.values())
        order = sorted(values)
        scores = given.chosen(selector, source, regime, order)
        if scores is None or len(order) < 2:
            continue
        n = len(values[order[0]])
        own = [scores[k] for k in order]
        by_auc = [[values[k][r] for k in order] for r in range(n)]
        taus = {r: tau for r in range(n) if (tau := kendall_tau_b(own, by_auc[r])) is not None}
        known = [to * tau for tau in taus.values()]
        if known:
            least = math.sqrt(mean(chance_variance(own, by_auc[r]) for r in taus))
            ends = interval(known, comparisons, least)
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
    chosen = lowest(scores)
    n = len(values[chosen[0]])
    own = tuple(mean(values[name][r] for name in chosen) for r in range(n))
    return Pick(chosen, own, min(values, key=lambda name: (mean(values[name]), name)))


class Trusted(NamedTuple):
    """A selector's choice at a place beside the others."""

    place: Place
    made: Pick
    margins: dict[str, list[float]]
    """AUC minus that of the choice, by candidate and replicate: of all others, or of all where the choice is a draw."""


def trusted(given: Evidence, selector: str, names: Mapping[str, str], places: Sequence[Place]) -> list[Trusted]:
    """What a selector chooses at each place where it can."""
    found = []
    for place in places:
        made = pick(given, selector, names, place)
        if made is not None:
            others = {n: v for n, v in given.outcomes(*place, names.values()).items() if made.chosen != (n,)}
            found.append(Trusted(place, made, {n: difference(v, made.auc) for n, v in others.items()}))
    return found


def universal(found: Sequence[Trusted], comparisons: int) -> list[Seen]:
    """Whether what a selector chooses is first, place by place.

    It `fails` where a candidate beats the choice (the interval of the choice's AUC minus that candidate's lies above
    0), and `holds` where the choice is one candidate that beats all others. The effect is what the choice is worse by
    than the best of the others, with its sign turned: below 0 it loses.
    """
    seen = []
    for place, made, margins in found:
        ends = {name: interval(margin, comparisons) for name, margin in margins.items()}
        verdict = all_of(sign(*ends[name]) for name in ends)
        if len(made.chosen) > 1 and verdict == "holds":
            verdict = OPEN
        nearest = _nearest(margins)
        effect = effect_of(margins[nearest])
        seen.append(Seen(*place, " or ".join(made.chosen), effect, *ends[nearest], len(made.auc), verdict))
    return seen


class Rivalry(NamedTuple):
    """A selector beside a rival, over all places together."""

    rival: str
    verdict: Verdict
    """`holds` where the selector loses less, or both always choose alike; `fails` where the rival loses less."""
    effect: float | None
    """By how much less AUC the selector loses, mean over places; None where a choice of either diverged in a
    replicate."""
    low: float | None
    high: float | None
    n: int
    """Replicates."""
    alike: bool
    """Whether both choose the same at every place."""
    places: tuple[Seen, ...]


def rivalry(
    given: Evidence, selector: str, rival: str, names: Mapping[str, str], places: Sequence[Place], comparisons: int
) -> Rivalry | None:
    """What the choices of a rival lose minus what the selector's own lose, averaged over places replicate by replicate
    (a replicate is the same randomness at every place); None where they have no place in common."""
    found, margins, alike = [], [], True
    for place in places:
        own, other = pick(given, selector, names, place), pick(given, rival, names, place)
        if own is None or other is None:
            continue
        margin = [0.0] * len(own.auc) if own.chosen == other.chosen else difference(other.auc, own.auc)
        ends = interval(margin, comparisons)
        what = f"{' or '.join(other.chosen)} for {' or '.join(own.chosen)}"
        found.append(Seen(*place, what, effect_of(margin), *ends, len(margin), sign(*ends)))
        alike = alike and own.chosen == other.chosen
        margins.append(margin)
    if not margins:
        return None
    n = min(map(len, margins))
    averaged = [average(margin[r] for margin in margins) for r in range(n)]
    low, high = interval(averaged, comparisons)
    verdict: Verdict = "holds" if alike else sign(low, high)
    return Rivalry(rival, verdict, effect_of(averaged), low, high, n, alike, tuple(found))
