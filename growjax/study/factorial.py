"""The stochastic regime split: order alone, dropout alone, both, neither, as a 2 x 2 of the ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from growjax.study.ranking import kendall_tau_b, mean, paired_interval, rank_by_auc
from growjax.study.rows import Apart, ApartRow, Corner, Effect, Ranked

SQUARE = {"neither": "deterministic", "order": "order", "dropout": "dropout", "both": "stochastic"}
"""The corners, and the regime of each."""

EFFECTS = ("of_order", "of_dropout", "together")

Corners = Mapping[str, Mapping[str, list[float]]]
"""By corner and warm start: AUCs [replicates], none of which diverged."""


def factorial(corners: Corners, source: str, lag: int) -> Apart | None:
    """The 2 x 2 of one source's warm starts at a lag; None where a corner was not run, or fewer than two are in all.

    A replicate is the same in every corner: its fixed order is that of neither and of dropout alone, its drawn order
    that of order alone and of both, its masks those of dropout alone and of both. So effects are taken replicate by
    replicate, over those that every corner has, of AUCs relative to the mean of the candidates: only what differs
    between candidates can change their order. Of a candidate with such values n (neither), o, d, b (both): the effect
    of order is (o - n + b - d) / 2, that of dropout (d - n + b - o) / 2, and together b - o - d + n. Their intervals
    are t intervals over replicates, adjusted for all candidates and effects.
    """
    names = sorted(set[str].intersection(*(set(corners.get(corner, ())) for corner in SQUARE)))
    if len(names) < 2:
        return None
    n = min(len(corners[corner][name]) for corner in SQUARE for name in names)
    kept = {corner: {name: corners[corner][name][:n] for name in names} for corner in SQUARE}
    means = {corner: {name: mean(values) for name, values in of.items()} for corner, of in kept.items()}
    ranks = {corner: _ranks(values) for corner, values in means.items()}
    centred = {c: {name: _centred(of, name, n) for name in names} for c, of in kept.items()}
    rows: list[ApartRow] = []
    for name in names:
        by_replicate = [_effects(*at) for at in zip(*(centred[corner][name] for corner in SQUARE), strict=True)]
        each = dict(zip(EFFECTS, map(list, zip(*by_replicate, strict=True)), strict=True))
        effects: dict[str, Effect] = {key: _effect(values, len(names) * len(EFFECTS)) for key, values in each.items()}
        of_corner: dict[str, Corner] = {c: {"auc": means[c][name], "rank": ranks[c][name]} for c in SQUARE}
        rows.append(cast(ApartRow, {"candidate": name, **of_corner, **effects}))
    taus = {corner: _tau(means["neither"], means[corner], names) for corner in SQUARE if corner != "neither"}
    return {"source": source, "lag": lag, "n": n, "rows": rows, "tau_to_neither": taus}


def _centred(of: Mapping[str, list[float]], name: str, n: int) -> list[float]:
    return [of[name][r] - mean(values[r] for values in of.values()) for r in range(n)]


def _effects(n: float, o: float, d: float, b: float) -> tuple[float, float, float]:
    return (o - n + b - d) / 2, (d - n + b - o) / 2, b - o - d + n


def _effect(values: list[float], comparisons: int) -> Effect:
    low, high = paired_interval(values, comparisons) or (None, None)
    return {"effect": mean(values), "low": low, "high": high}


def _ranks(values: dict[str, float]) -> dict[str, int | None]:
    rows: list[Ranked] = [{"candidate": name, "auc_mean": value, "rank": None} for name, value in values.items()]
    rank_by_auc(rows)
    return {row["candidate"]: row["rank"] for row in rows}


def _tau(a: dict[str, float], b: dict[str, float], names: list[str]) -> float | None:
    return kendall_tau_b([a[n] for n in names], [b[n] for n in names])
