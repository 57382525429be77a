"""Rankings, intervals and selectors, from the cells of a receipt alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, overload

import numpy as np

from growjax.record.cell_types import CandidateCell, CellRecord, ContinuationCell, ProbeCell
from growjax.study.rows import Judged, Pair, Ranked
from growjax.study.spec import UNWIDENED

TIE = 2.0**-21
"""Values of a measure closer than this (relative to the larger) are one value: rounding decides nothing. Measures are
taken from logits in float32, whose unit of rounding is 2^-24: the losses of four exact copies of one source were seen
to differ by 1e-7 of themselves."""

NOTHING = 1e-9
"""Values below this are one value: the KL of exact copies is 1e-13 to 3e-12 nats, which is the rounding of logits."""

CONFIDENCE = 0.95


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean, correctly rounded."""
    values = list(values)
    return math.fsum(values) / len(values)


def deviation(values: list[float]) -> float | None:
    """Sample standard deviation; None for fewer than two values, or where one is not finite."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def tied(a: float, b: float) -> bool:
    """Whether two values differ by no more than rounding."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b
    return abs(a - b) <= TIE * max(abs(a), abs(b)) or max(abs(a), abs(b)) < NOTHING


def lowest(scores: Mapping[str, float]) -> tuple[str, ...]:
    """Who has the least score, by name; several where they are tied."""
    best = min(scores.values())
    return tuple(name for name in sorted(scores) if tied(scores[name], best))


def snapped(values: list[float]) -> list[int]:
    """Ranks from 0 in which values tied at rounding level share one."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks, rank = [0] * len(values), 0
    for before, after in itertools.pairwise(order):
        rank += not tied(values[before], values[after])
        ranks[after] = rank
    return ranks


def kendall_tau_b(a: list[float], b: list[float]) -> float | None:
    """Kendall's tau-b (1945): agreement of two orders, ties counted; None where one of them is all ties."""
    from scipy.stats import kendalltau

    x, y = snapped(a), snapped(b)
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(kendalltau(x, y, variant="b")[0])  # pyright: ignore[reportArgumentType]


def chance_variance(a: list[float], b: list[float]) -> float:
    """Variance of tau-b if every order of `b` is as likely as any other (Daniels 1944), ties counted; neither is all
    ties. Two values or more."""
    n = len(a)

    def rest(values: list[float]) -> float:
        ranks = np.array(snapped(values))
        signs = np.sign(np.subtract.outer(ranks, ranks))
        return float((signs.sum(axis=1) ** 2).sum() / (signs**2).sum()) - 1

    found = 2 / (n * (n - 1))
    return found + 4 * rest(a) * rest(b) / (n * (n - 1) * (n - 2)) if n > 2 else found


def paired_interval(differences: list[float], comparisons: int, least: float = 0.0) -> tuple[float, float] | None:
    """The t interval of a mean difference, at `CONFIDENCE` over all comparisons together (Bonferroni); None for fewer
    than two pairs. `least` is what the deviation is known not to be under: values that can be few alone may agree by
    chance."""
    from scipy.stats import t

    spread = deviation(differences)
    if spread is None:
        return None
    n, centre, spread = len(differences), mean(differences), max(spread, least)
    reach = float(t.ppf(1 - (1 - CONFIDENCE) / (2 * comparisons), n - 1)) * spread / math.sqrt(n)
    return centre - reach, centre + reach


class Table:
    """Cells of a receipt, found by kind, source, regime and operator."""

    def __init__(self, cells: Iterable[CellRecord]):
        self.cells = list(cells)
        self._rows: dict[tuple[str, str | None, str | None, str | None], dict[int, CellRecord]] = {}
        for cell in self.cells:
            key = (cell["kind"], cell["source"], cell["regime"], cell["operator"])
            self._rows.setdefault(key, {})[cell["replicate"] or 0] = cell

    @overload
    def rows(self, kind: Literal["candidate"], source: str, regime: None, operator: str) -> list[CandidateCell]: ...
    @overload
    def rows(
        self, kind: Literal["probe", "continuation", "extension"], source: str, regime: str, operator: str
    ) -> list[ProbeCell | ContinuationCell]: ...
    def rows(self, kind: str, source: str, regime: str | None, operator: str) -> Sequence[CellRecord]:
        """The cells themselves, in the order of their replicates."""
        rows = self._rows.get((kind, source, regime, operator), {})
        return [rows[i] for i in sorted(rows)]


def adjusted_means(values: Mapping[str, list[float]]) -> dict[str, float]:
    """Each candidate's mean over its replicates, as if it had those of the candidate that has most.

    Where all have as many, this is the plain mean. Who has fewer is moved by what the replicates it has are above or
    below all of them, averaged over those who have all (the least-squares means of an additive two-way table).
    """
    most = max(map(len, values.values()), default=0)
    full = [v for v in values.values() if len(v) == most and all(map(math.isfinite, v))]
    found = {}
    for name, own in values.items():
        found[name] = mean(own)
        if len(own) < most and full:
            found[name] -= mean(mean(v[: len(own)]) - mean(v) for v in full)
    return found


def rank_by_auc(rows: Iterable[Ranked]) -> None:
    """Fills `rank` (1 is best; ties at rounding level share a rank) among the widened candidates of one comparison.

    A candidate of which replicates diverged comes after all of which fewer did, whatever the AUC of the others is.
    """
    ranked = [row for row in rows if row["candidate"] != UNWIDENED]
    aucs = snapped([row["auc_mean"] for row in ranked])
    places = [(row.get("n_diverged", 0), place) for row, place in zip(ranked, aucs, strict=True)]
    for row, place in zip(ranked, places, strict=True):
        row["rank"] = 1 + sum(other < place for other in places)


def best_pair(aucs: dict[str, list[float]], comparisons: int, *, source: str, regime: str, lag: int) -> Pair | None:
    """Best against second by AUC, paired over replicates; separated only where the interval excludes 0."""
    middle = adjusted_means(aucs)
    order = sorted(aucs, key=lambda name: (middle[name], name))
    if len(order) < 2:
        return None
    best, second = order[:2]
    differences = [b - a for a, b in zip(aucs[best], aucs[second], strict=False)]  # those that both have
    interval = paired_interval(differences, comparisons)
    return {
        "source": source,
        "regime": regime,
        "lag": lag,
        "best": best,
        "second": second,
        "difference": mean(differences),
        "low": interval[0] if interval else None,
        "high": interval[1] if interval else None,
        "confidence": CONFIDENCE,
        "comparisons": comparisons,
        "n": len(differences),
        "separated": bool(interval and interval[0] > 0) and not tied(middle[best], middle[second]),
    }


def judge_selector(
    name: str, scores: dict[str, float], aucs: dict[str, float], lost: Mapping[str, int] | None = None
) -> Judged | None:
    """Tau-b, top-1 hit and regret (AUC nats lost by trusting it) of one cheap selector against the long AUC; None
    where it could not be taken for every candidate, or distinguishes no two.

    `lost` counts the replicates of a candidate that diverged: it comes after those with fewer, and choosing it has no
    finite regret.
    """
    names, lost = sorted(aucs), lost or {}
    if set(scores) != set(aucs) or len(names) < 2:
        return None
    places = {n: (lost.get(n, 0), place) for n, place in zip(names, snapped([aucs[n] for n in names]), strict=True)}
    order = sorted(set(places.values()))
    truth = {n: order.index(place) for n, place in places.items()}
    tau = kendall_tau_b([scores[n] for n in names], [float(truth[n]) for n in names])
    if tau is None:
        return None
    chosen = lowest(scores)  # a tie is broken by chance: its mean is what it costs
    best = min(aucs[n] for n in names if truth[n] == 0)
    hits = mean(float(truth[n] == 0) for n in chosen)
    return {
        "selector": name,
        "tau": tau,
        "top1": hits == 1.0,
        "top1_share": hits,
        "regret": mean(math.inf if lost.get(n) else aucs[n] - best for n in chosen),
    }


def adjustments(curves: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, list[float]]:
    """By candidate: what `adjusted_means` adds to its mean, at each evaluation of its curves. A curve goes as far as
    its replicates do; candidates may differ in that. All are finite."""
    found: dict[str, list[float]] = {name: [] for name in curves}
    for at in range(max((len(several[0]) for several in curves.values()), default=0)):
        here = {name: [curve[at] for curve in several] for name, several in curves.items() if at < len(several[0])}
        for name, middle in adjusted_means(here).items():
            found[name].append(middle - mean(here[name]))
    return found


def mean_curve(curves: list[list[float]]) -> tuple[list[float], list[float], list[float]]:
    """(mean, lowest, highest) over replicates at every evaluation."""
    stacked = np.asarray(curves, np.float64)
    return (
        [mean(column) for column in stacked.T.tolist()],
        stacked.min(axis=0).tolist(),
        stacked.max(axis=0).tolist(),
    )


def comparable_curves(
    curves: Mapping[str, list[list[float]]],
) -> dict[str, tuple[list[float], list[float], list[float]]]:
    """By candidate what `mean_curve` gives, all three moved as `adjusted_means` moves a mean. All losses are finite."""
    found = {}
    for name, by in adjustments(curves).items():
        middle, low, high = ([x + y for x, y in zip(of, by, strict=True)] for of in mean_curve(curves[name]))
        found[name] = middle, low, high
    return found
