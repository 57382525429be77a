"""How a claim is decided: paired intervals at places, one verdict over places, and an interval over seeds.

A place is a source state in a regime at a lag. What is seen there is paired over replicates, whose intervals say what
holds of these very states. A margin has no mean where a replicate of either side diverged: its place is without an
effect, and undecided unless one side diverged in every replicate and the other in none. Seeds are the independent unit
of anything beyond them: states of one seed are averaged first, and the interval that a claim reports is the t interval
over seeds, with n the number of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from growjax.study.ranking import mean, paired_interval

Verdict = Literal["holds", "fails", "undecided"]

OPEN: Verdict = "undecided"


class Seen(NamedTuple):
    """What is seen of a claim at one place."""

    source: str
    regime: str
    lag: int
    what: str
    """The rival, the candidate chosen, or the measure."""
    effect: float | None
    """Above 0 speaks for the claim."""
    low: float | None
    high: float | None
    n: int
    """Replicates."""
    verdict: Verdict
    """Of the claim at this place alone."""


class Decided(NamedTuple):
    """A verdict over places, with the effect over seeds."""

    verdict: Verdict
    effect: float | None
    """Mean over seeds, of each the mean over its places; above 0 speaks for the claim."""
    low: float | None
    high: float | None
    """Ends of the t interval over seeds at 95 %; None with fewer than two."""
    n: int
    """Seeds."""
    places: tuple[Seen, ...]
    missing: tuple[str, ...] = ()
    """What the claim asks for and has no evidence of, in words: it can fail without it, and not hold."""


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """`holds` where every one does, `fails` where one does, or else (and of none at all) it is undecided."""
    found = list(verdicts)
    if "fails" in found:
        return "fails"
    return "holds" if found and all(one == "holds" for one in found) else OPEN


def none_of(verdicts: Iterable[Verdict]) -> Verdict:
    """`holds` where every one fails, `fails` where one holds."""
    other: dict[Verdict, Verdict] = {"holds": "fails", "fails": "holds", OPEN: OPEN}
    return all_of(other[one] for one in verdicts)


def sign(low: float | None, high: float | None) -> Verdict:
    """`holds` where an interval lies above 0, `fails` where it lies below."""
    if low is not None and low > 0:
        return "holds"
    return "fails" if high is not None and high < 0 else OPEN


def interval(values: Sequence[float], comparisons: int, least: float = 0.0) -> tuple[float | None, float | None]:
    """The paired t interval (`growjax.study.ranking.paired_interval`), adjusted for comparisons; (None, None) where
    there is none, as where some replicates diverged. Where one side alone diverged in every replicate, both ends are
    infinite."""
    if values and all(math.isinf(x) and x == values[0] for x in values):
        return values[0], values[0]
    found = paired_interval(list(values), comparisons, least)
    return found if found is not None else (None, None)


def difference(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """a - b, replicate by replicate: infinite where one of them diverged, and no number where both did."""
    return [x - y for x, y in zip(a, b, strict=True)]


def average(values: Iterable[float]) -> float:
    """The mean. With a value that is not finite it is none either: an infinity, or no number where both meet."""
    found = list(values)
    return mean(found) if all(map(math.isfinite, found)) else sum(found)


def effect_of(values: Sequence[float]) -> float | None:
    """The mean margin over replicates; None where one of them diverged."""
    found = average(values)
    return found if math.isfinite(found) else None


def over_seeds(
    verdict: Verdict, places: Sequence[Seen], seeds: Mapping[str, int | str], missing: tuple[str, ...] = ()
) -> Decided:
    """The verdict with its effect: places averaged within each seed, seeds within the claim. A place without an effect
    is left out of it."""
    by_seed: dict[int | str, list[float]] = {}
    for seen in places:
        if seen.effect is not None and math.isfinite(seen.effect):
            by_seed.setdefault(seeds[seen.source], []).append(seen.effect)
    means = [mean(by_seed[seed]) for seed in sorted(by_seed, key=str)]
    low, high = interval(means, 1)
    return Decided(verdict, mean(means) if means else None, low, high, len(means), tuple(places), missing)
