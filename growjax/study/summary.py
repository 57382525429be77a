"""Sums a receipt up: the plain data that tables, figures and the page are made of. Computes nothing anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from growjax.grow.registry import parse_operator
from growjax.measure.curves import auc, tokens_saved
from growjax.measure.inputs import Curve
from growjax.measure.measure import CELLS, Measure
from growjax.measure.registry import measures, measures_at, value_of
from growjax.model.decoder import flops_per_token
from growjax.record.cell_types import CurveMetrics
from growjax.record.checksums import readable
from growjax.record.receipt_types import Receipt
from growjax.study.attribution import attribute
from growjax.study.crossing import outcomes
from growjax.study.factorial import factorial
from growjax.study.facts import notes, run_facts, source_row
from growjax.study.ranking import (
    Table,
    adjusted_means,
    best_pair,
    deviation,
    judge_selector,
    mean,
    mean_curve,
    rank_by_auc,
)
from growjax.study.rates import rate_rows
from growjax.study.receipt import check_whole, data_of, models, spec_of
from growjax.study.rows import CurveRow, Measured, RankingRow, SelectorRow, Summary
from growjax.study.spec import UNWIDENED, StudySpec

Kind = Literal["probe", "continuation", "extension"]


def summarise(receipt: Receipt) -> Summary:
    """The summary of a run, from its receipt alone. Raises `UserError` where a cell of the run is missing.

    A curve that left the numbers counts as infinite, so its candidate is ranked last; what is not finite is None in
    the summary.
    """
    spec, table = spec_of(receipt), Table(receipt["cells"])
    check_whole(receipt, spec)
    source_model, target_model = models(receipt)
    data = data_of(receipt)
    states = [cell for cell in receipt["cells"] if cell["kind"] == "source"]
    states.sort(key=lambda cell: (cell["parameters"]["seed"], cell["parameters"]["step"]))
    sources = [cell["source"] for cell in states]
    summary: Summary = {
        "title": f"Which wide start? {spec.data.corpus}, {source_model.d_model} to {target_model.d_model}",
        "run": run_facts(receipt, spec, data, source_model, target_model),
        "sources": [source_row(cell, data) for cell in states],
        "preservation": [],
        "probes": [],
        "ranking": [],
        "pairs": [],
        "selectors": [],
        "curves": [],
        "attribution": [],
        "regimes_factorial": [],
        "long": [],
        "rates": [],
        "notes": notes(spec),
    }
    rankings = 2 * len(spec.all_regimes) + (len(spec.regimes) if spec.long_lag else 0)
    comparisons = max(1, len(sources) * rankings)
    for source in sources:
        summary["preservation"] += _preservation(table, source, spec.candidates)
        for regime in spec.all_regimes:
            ranked = spec.ranked(regime)
            pool = [UNWIDENED, *ranked]
            lags: list[tuple[int, Kind]] = [(spec.probe_lag, "probe"), (spec.continuation_lag, "continuation")]
            if spec.long_lag and regime in spec.regimes:
                lags.append((spec.long_lag, "extension"))
            for lag, metric in lags:
                here = [n for n in pool if metric != "extension" or table.rows(metric, source, regime, n)]
                rows = [_ranking_row(table, spec, source, regime, lag, metric, name) for name in here]
                aucs = {n: _aucs(table, source, regime, n, metric) for n in here if n != UNWIDENED}
                middle = adjusted_means(aucs)
                for row in rows:
                    row["auc_mean"] = middle.get(row["candidate"], row["auc_mean"])
                rank_by_auc(rows)
                summary["long" if metric == "extension" else "ranking"] += rows
                pair = best_pair(aucs, comparisons, source=source, regime=regime, lag=lag)
                summary["pairs"] += [pair] if pair else []
            summary["probes"] += [_probe(table, source, regime, name) for name in ranked]
            if spec.rates and regime in spec.regimes:
                at = {n: _aucs(table, source, regime, n, "continuation") for n in (*spec.families, *spec.at_rates)}
                summary["rates"] += rate_rows(at, spec, source=source, regime=regime)
            summary["selectors"] += _selectors(table, spec, source, regime)
            flops = {False: flops_per_token(target_model, spec.data.seq_len),
                     True: flops_per_token(source_model, spec.data.seq_len)}  # fmt: skip
            summary["curves"] += [_curve(table, spec, source, regime, n, flops[n == UNWIDENED]) for n in pool]
        apart = factorial(summary["ranking"], source, spec.continuation_lag)
        summary["regimes_factorial"] += [apart] if apart else []
        if spec.crossed:
            found = {n: y for n, y in outcomes(receipt["cells"], spec, source).items() if not is_control(n)}
            finite = {n: y for n, y in found.items() if bool(np.isfinite(y).all())}
            if finite:
                summary["attribution"].append({"source": source, **attribute(finite, seed=spec.study_seed)})
    lost = sorted({row["candidate"] for row in summary["ranking"] if not math.isfinite(row["auc_mean"])})
    summary["notes"] += [f"Diverged, and therefore ranked last: {', '.join(lost)}."] if lost else []
    return cast(Summary, readable(summary))


def _preservation(table: Table, source: str, operators: tuple[str, ...]) -> list[Measured]:
    names = [m.name for m in measures_at("zero_step")]
    rows = []
    for name in operators:
        metrics = table.rows("candidate", source, None, name)[0]["metrics"]
        rows.append({"source": source, "candidate": name, **{key: metrics.get(key) for key in names}})
    return rows


def _losses(metrics: CurveMetrics) -> list[float]:
    return [math.inf if loss is None else loss for loss in metrics["eval_loss"]]


def _aucs(table: Table, source: str, regime: str, name: str, kind: Kind) -> list[float]:
    cells = [row["metrics"] for row in table.rows(kind, source, regime, name)]
    if kind != "probe":  # an average that was recorded; the curve may go on beyond what it is of
        found = [cast(float | None, m.get("auc")) for m in cells]
        return [math.inf if value is None else value for value in found]
    return [auc(m["eval_steps"], _losses(m)) for m in cells]


def family(name: str) -> str:
    """The paper's family of a candidate."""
    return "control" if name == UNWIDENED else parse_operator(name).operator.family


def is_control(name: str) -> bool:
    """Whether a candidate is there to be compared with, and no warm start."""
    return name == UNWIDENED or parse_operator(name).operator.control


def _shared(metrics: CurveMetrics, lag: int) -> tuple[list[int], list[float]]:
    """The part of a curve up to a lag."""
    n = metrics["eval_steps"].index(lag) + 1
    return metrics["eval_steps"][:n], _losses(metrics)[:n]


def _ranking_row(
    table: Table, spec: StudySpec, source: str, regime: str, lag: int, kind: Kind, name: str
) -> RankingRow:
    aucs = _aucs(table, source, regime, name, kind)
    cells = [row["metrics"] for row in table.rows(kind, source, regime, name)]
    row: RankingRow = {
        "source": source,
        "regime": regime,
        "lag": lag,
        "candidate": name,
        "family": family(name),
        "control": is_control(name),
        "n": len(aucs),
        "auc_mean": mean(aucs),
        "auc_sd": deviation(aucs),
        "final_mean": None,
        "rank": None,
        "tokens_saved": None,
        "tokens_saved_more": False,
    }
    measured = {m.column: _mean_or_none(_in_ranking(m, cells, lag, kind)) for m in measures_at("continuation")}
    row = cast(RankingRow, {**row, **measured})
    steps_left = [cast(int, m.get("diverged")) for m in cells if m.get("diverged") is not None]
    if steps_left:
        row["diverged"] = f"{len(steps_left)} of {len(cells)} diverged, first at step {min(steps_left)}"
        return row
    scratch = [row["metrics"] for row in table.rows(kind, source, regime, "scratch")]
    if scratch and not any("diverged" in metrics for metrics in scratch) and name != "scratch":
        n = min(len(cells), len(scratch))  # replicates that both have
        steps, own = _mean_shared(cells[:n], lag)
        _, control = _mean_shared(scratch[:n], lag)
        tokens = tokens_saved(steps, control, own, spec.data.batch_size * spec.data.seq_len)
        row["tokens_saved"], row["tokens_saved_more"] = tokens
    return row


def _in_ranking(measure: Measure, cells: Sequence[CurveMetrics], lag: int, kind: str) -> list[float]:
    """A measure over replicates at a lag: one of the curve at every lag, any other where the continuation ended."""
    if measure.of_curve:
        curves = [_shared(m, lag) for m in cells]
        values = [
            value_of(measure, Curve(tuple(steps), tuple(losses))) if all(map(math.isfinite, losses)) else math.inf
            for steps, losses in curves
        ]
    else:
        values = [cast(float | None, m.get(measure.name)) for m in cells] if kind != "probe" else []
    return [v for v in values if v is not None]


def _mean_or_none(values: list[float]) -> float | None:
    return mean(values) if values else None


def _mean_shared(cells: Sequence[CurveMetrics], lag: int) -> tuple[list[int], list[float]]:
    curves = [_shared(m, lag) for m in cells]
    return curves[0][0], mean_curve([losses for _, losses in curves])[0]


def _probe(table: Table, source: str, regime: str, name: str) -> Measured:
    names = [m.name for m in measures_at("probe") if m.recorded]
    values = {m: _mean_or_none(table.values("probe", source, regime, name, m)) for m in names}
    n = len(table.rows("probe", source, regime, name))
    return {"source": source, "regime": regime, "candidate": name, "n": n, **values}


def _selectors(table: Table, spec: StudySpec, source: str, regime: str) -> list[SelectorRow]:
    """Selectors over the candidates that come from the source; scratch is no warm start, so it is left out."""
    pool = [name for name in spec.ranked(regime) if not is_control(name)]
    long = adjusted_means({name: _aucs(table, source, regime, name, "continuation") for name in pool})
    rows = []
    for measure in (m for m in measures() if m.selects):
        kind = CELLS[measure.where]
        where = regime if kind == "probe" else None
        scores = {}
        for name in pool:
            if measure.recorded:
                values = table.values(kind, source, where, name, measure.name)
            else:
                cells = [row["metrics"] for row in table.rows("probe", source, regime, name)]
                values = _in_ranking(measure, cells, spec.probe_lag, kind)
            if values:
                scores[name] = measure.score(mean(values))
        judged = judge_selector(measure.selector, scores, long)
        if judged is not None:
            rows.append({**judged, "source": source, "regime": regime})
    return rows


def _curve(table: Table, spec: StudySpec, source: str, regime: str, name: str, flops: float) -> CurveRow:
    cells = [row["metrics"] for row in table.rows("continuation", source, regime, name)]
    steps = cells[0]["eval_steps"]
    middle, low, high = mean_curve([_losses(m) for m in cells])
    tokens = [s * spec.data.batch_size * spec.data.seq_len for s in steps]
    return {
        "source": source,
        "regime": regime,
        "candidate": name,
        "control": is_control(name),
        "steps": steps,
        "tokens": tokens,
        "flops": [t * flops for t in tokens],
        "mean": middle,
        "low": low,
        "high": high,
    }
