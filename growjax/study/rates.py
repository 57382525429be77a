"""Each family at the best of several learning rates, so that none loses by a rate that suits another."""

from __future__ import annotations

import math

from growjax.study.ranking import deviation, mean, paired_interval, rank_by_auc
from growjax.study.rows import RateRow
from growjax.study.spec import StudySpec


def rate_rows(aucs: dict[str, list[float]], spec: StudySpec, *, source: str, regime: str) -> list[RateRow]:
    """A row for each family of a source and regime, ranked by the mean AUC at its best rate.

    `aucs` holds AUCs over replicates by candidate, the families and those of `spec.at_rates`; the replicates that all
    of them have are compared. The gain over the source's own rate has a t interval of paired differences, adjusted for
    the rates tried. The best of several is chosen and reported by the same replicates, which flatters it a little.
    """
    n = min(map(len, aucs.values()))
    tried = {family: {1.0: family} for family in spec.families}
    for name, (family, rate) in spec.at_rates.items():
        tried[family][rate] = name
    rows: list[RateRow] = []
    for family, by_rate in tried.items():
        means = {rate: mean(aucs[name][:n]) for rate, name in by_rate.items()}
        best = min(means, key=lambda rate: (means[rate], abs(math.log(rate)), rate))
        values, own = aucs[by_rate[best]][:n], aucs[family][:n]
        differences = [b - a for a, b in zip(values, own, strict=True)]
        interval = paired_interval(differences, max(1, len(by_rate) - 1)) if best != 1 else None
        rows.append({
            "source": source, "regime": regime, "lag": spec.continuation_lag, "family": family,
            "candidate": by_rate[best], "rate": best, "auc_mean": means[best], "auc_sd": deviation(values), "n": n,
            "rank": None, "gain": means[1.0] - means[best] if best != 1 else 0.0,
            "low": interval[0] if interval else None, "high": interval[1] if interval else None,
            "aucs": {f"{rate:g}": means[rate] for rate in sorted(means)},
        })  # fmt: skip
    rank_by_auc(rows)
    return rows
