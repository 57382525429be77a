"""Cheap selectors, judged by the long continuations of the warm starts they choose among."""

from __future__ import annotations

import math

from growjax.measure.measure import Measure
from growjax.measure.registry import measures
from growjax.study.ranking import Table, adjusted_means, judge_selector, mean
from growjax.study.replicates import aucs, diverged_step, recorded, survivors, values_at
from growjax.study.rows import SelectorRow
from growjax.study.spec import StudySpec


def selectors(table: Table, spec: StudySpec, source: str, regime: str, pool: list[str]) -> list[SelectorRow]:
    """Every selector over a pool of candidates. One that diverged and so has no score comes last."""
    runs = {name: [row["metrics"] for row in table.rows("continuation", source, regime, name)] for name in pool}
    lost = {name: sum(diverged_step(metrics) is not None for metrics in found) for name, found in runs.items()}
    kept = {name: aucs(survivors(found), "continuation") for name, found in runs.items()}
    middle = adjusted_means({name: found for name, found in kept.items() if not lost[name]})
    long = {name: middle.get(name, mean(found) if found else math.inf) for name, found in kept.items()}
    rows = []
    for measure in (m for m in measures() if m.selects):
        scores = {}
        for name in pool:
            values = seen(table, spec, source, regime, name, measure)
            if values:
                scores[name] = measure.score(mean(values))
            elif lost[name]:
                scores[name] = math.inf
        judged = judge_selector(measure.selector, scores, long, lost)
        if judged is not None:
            rows.append({**judged, "source": source, "regime": regime})
    return rows


def seen(table: Table, spec: StudySpec, source: str, regime: str, name: str, measure: Measure) -> list[float]:
    """What a selector sees of a candidate."""
    if measure.where == "zero_step":
        return recorded(measure.name, [row["metrics"] for row in table.rows("candidate", source, None, name)])
    cells = survivors([row["metrics"] for row in table.rows("probe", source, regime, name)])
    return recorded(measure.name, cells) if measure.recorded else values_at(measure, cells, spec.probe_lag, "probe")
