"""The stochastic regime split: order alone, dropout alone, both, neither, as a 2 x 2 of the ranking."""

from __future__ import annotations

from typing import cast

from growjax.study.ranking import kendall_tau_b, mean, rank_by_auc
from growjax.study.rows import Apart, ApartRow, Corner, Ranked, RankingRow

SQUARE = {"neither": "deterministic", "order": "order", "dropout": "dropout", "both": "stochastic"}
"""The corners, and the regime of each."""


def factorial(ranking: list[RankingRow], source: str, lag: int) -> Apart | None:
    """The 2 x 2 of one source's warm starts at a lag, from the rows of the ranking, but for those that diverged in any
    corner; None unless all regimes were run.

    AUCs are reported relative to the mean of the candidates in the same corner, since only what differs between
    candidates can change their order. Of a candidate with such values n (neither), o, d, b (both): the effect of order
    is (o - n + b - d) / 2, that of dropout (d - n + b - o) / 2, and together b - o - d + n.
    """
    corners: dict[str, dict[str, float]] = {}
    for corner, regime in SQUARE.items():
        found = [r for r in ranking if (r["source"], r["regime"], r["lag"]) == (source, regime, lag)]
        corners[corner] = {r["candidate"]: r["auc_mean"] for r in found if not r["control"] and "n_diverged" not in r}
    names = sorted(set[str].intersection(*map(set, corners.values())))
    if len(names) < 2:
        return None
    corners = {corner: {name: values[name] for name in names} for corner, values in corners.items()}
    ranks = {corner: _ranks(values) for corner, values in corners.items()}
    centred = {c: {n: values[n] - mean(values.values()) for n in names} for c, values in corners.items()}
    rows: list[ApartRow] = []
    for name in names:
        n, o, d, b = (centred[corner][name] for corner in SQUARE)
        effects = {"of_order": (o - n + b - d) / 2, "of_dropout": (d - n + b - o) / 2, "together": b - o - d + n}
        of_corner: dict[str, Corner] = {c: {"auc": corners[c][name], "rank": ranks[c][name]} for c in SQUARE}
        rows.append(cast(ApartRow, {"candidate": name, **of_corner, **effects}))
    taus = {corner: _tau(corners["neither"], corners[corner], names) for corner in SQUARE if corner != "neither"}
    return {"source": source, "lag": lag, "rows": rows, "tau_to_neither": taus}


def _ranks(values: dict[str, float]) -> dict[str, int | None]:
    rows: list[Ranked] = [{"candidate": name, "auc_mean": value, "rank": None} for name, value in values.items()]
    rank_by_auc(rows)
    return {row["candidate"]: row["rank"] for row in rows}


def _tau(a: dict[str, float], b: dict[str, float], names: list[str]) -> float | None:
    return kendall_tau_b([a[n] for n in names], [b[n] for n in names])
