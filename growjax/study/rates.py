"""Each family at the best of several learning rates, so that none loses by a rate that suits another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from growjax.record.cell_types import CurveMetrics
from growjax.study.ranking import deviation, mean, paired_interval, rank_by_auc
from growjax.study.replicates import aucs, survivors
from growjax.study.rows import RateRow
from growjax.study.spec import StudySpec


def rate_rows(
    cells: Mapping[str, Sequence[CurveMetrics]], spec: StudySpec, *, source: str, regime: str
) -> list[RateRow]:
    """A row for each family of a source and regime, ranked by the mean AUC at its best rate.

    `cells` holds curves over replicates by candidate, the families and those of `spec.at_rates`; the replicates that
    all of them have are compared. A family's rate at which one diverged is none of its best; where all did, it has no
    row. The gain over the source's own rate has a t interval of paired differences, adjusted for
    the rates tried. The best of several is chosen and reported by the same replicates, which flatters it a little.
    """
    n = min(map(len, cells.values()))
    kept = {name: own[:n] for name, own in cells.items() if len(survivors(own[:n])) == n}
    values_of = {name: aucs(own, "continuation") for name, own in kept.items()}
    tried = {family: {1.0: family} for family in spec.families}
    for name, (family, rate) in spec.at_rates.items():
        tried[family][rate] = name
    rows: list[RateRow] = []
    for family, by_rate in tried.items():
        means = {rate: mean(values_of[name]) for rate, name in by_rate.items() if name in values_of}
        if not means:
            continue
        best = min(means, key=lambda rate: (means[rate], abs(math.log(rate)), rate))
        values, own = values_of[by_rate[best]], values_of.get(family)
        differences = [] if own is None or best == 1 else [b - a for a, b in zip(values, own, strict=True)]
        interval = paired_interval(differences, max(1, len(by_rate) - 1))
        rows.append({
            "source": source, "regime": regime, "lag": spec.continuation_lag, "family": family,
            "candidate": by_rate[best], "rate": best, "auc_mean": means[best], "auc_sd": deviation(values), "n": n,
            "rank": None, "gain": mean(differences) if differences else 0.0 if best == 1 else None,
            "low": interval[0] if interval else None, "high": interval[1] if interval else None,
            "aucs": {f"{rate:g}": means[rate] for rate in sorted(means)},
        })  # fmt: skip
    rank_by_auc(rows)
    return rows
