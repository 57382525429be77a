"""Cheap selectors, judged by the long continuations of the warm starts they choose among."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from growjax.measure.measure import Measure
from growjax.measure.registry import measures
from growjax.study.ranking import Table, adjusted_means, judge_selector, mean
from growjax.study.replicates import at_lag, aucs, diverged_step, recorded, survivors
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
        scores = shared_scores({name: scores_of(table, spec, source, regime, name, measure) for name in pool})
        scores |= {name: math.inf for name in pool if lost[name] and name not in scores}
        judged = judge_selector(measure.selector, scores, long, lost)
        if judged is not None:
            rows.append({**judged, "source": source, "regime": regime})
    return rows


def shared_scores(seen: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """Each candidate's mean score over the replicates that all of them have: over those that did not diverge, and
    infinite where all did. Who has no score is left out."""
    n = min(map(len, seen.values()), default=0)
    known = {name: [score for score in own[:n] if score is not None] for name, own in seen.items()}
    finite = {name: [score for score in own if math.isfinite(score)] for name, own in known.items()}
    return {name: mean(finite[name]) if finite[name] else math.inf for name, own in known.items() if own}


def scores_of(
    table: Table, spec: StudySpec, source: str, regime: str, name: str, measure: Measure
) -> tuple[float | None, ...]:
    """What a selector minimises of a candidate, by replicate (one before the first step): infinite where that run
    diverged, None where the measure has no meaning."""
    if measure.where == "zero_step":
        values = [_figure(measure, row["metrics"]) for row in table.rows("candidate", source, None, name)]
        return tuple(None if value is None else measure.score(value) for value in values)
    scores: list[float | None] = []
    for metrics in (row["metrics"] for row in table.rows("probe", source, regime, name)):
        value = _figure(measure, metrics) if measure.recorded else at_lag(measure, metrics, spec.probe_lag)
        score = None if value is None else measure.score(value)
        scores.append(score if diverged_step(metrics) is None else math.inf)
    return tuple(scores)


def _figure(measure: Measure, metrics: Mapping[str, object]) -> float | None:
    return next(iter(recorded(measure.name, [metrics])), None)
